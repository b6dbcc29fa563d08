use std::hash::{DefaultHasher, Hash, Hasher};

use proptest::prelude::*;
use shared_models::flow::Flow;
use shared_models::message::ToolCall;
use shared_models::run::FinishReason;

use super::*;
use crate::conversation::{Answer, FailureCode};
use crate::model::Reply;
use crate::swarm::plan::{AgentPlan, SwarmPlan};

fn agent(name: &str, handoffs: &[&str]) -> Plan {
    let handoffs = handoffs.iter().map(|&name| name.to_owned()).collect();
    let agent = AgentPlan { opening: Conversation::new(format!("You are {name}.")), handoffs };
    Plan { name: name.into(), description: String::new(), work: Work::Agent(Box::new(agent)) }
}

fn swarm(name: &str, topology: Topology, members: Vec<Plan>) -> Plan {
    let max_steps = 10_000;
    let work = Work::Swarm(SwarmPlan { members, topology, max_steps });
    Plan { name: name.into(), description: String::new(), work }
}

fn workflow(name: &str, flow: &str, members: Vec<Plan>) -> Plan {
    let flow: Flow = flow.parse().unwrap();
    swarm(name, Topology::Workflow { flow, separator: "\n\n".into() }, members)
}

fn path(text: &str) -> Path {
    text.parse().unwrap()
}

fn says(text: &str) -> Happened {
    Happened::Replied(Reply { content: text.into(), ..Reply::default() })
}

fn asks(calls: &[(&str, &str, &str)]) -> Happened {
    let call = |&(id, name, arguments): &(&str, &str, &str)| ToolCall {
        id: id.into(),
        name: name.into(),
        arguments: arguments.into(),
    };
    let tool_calls = calls.iter().map(call).collect();
    Happened::Replied(Reply { tool_calls, ..Reply::default() })
}

fn start(plan: &Plan) -> (SwarmState, Vec<(Path, Command)>) {
    plan.check().unwrap();
    let mut state = SwarmState::new();
    let input = vec![Message::user("go")];
    let commands = step(plan, &mut state, &Path::root(), Happened::Started { input });
    (state, commands)
}

/// What is asked of whom: `a?` a model call, `a!tool` a tool call, `a.` an end.
fn shown(commands: &[(Path, Command)]) -> Vec<String> {
    let mut shown = Vec::new();
    for (path, command) in commands {
        match command {
            Command::CallModel => shown.push(format!("{path}?")),
            Command::CallTools(calls) => {
                shown.extend(calls.iter().map(|call| format!("{path}!{}", call.name)));
            }
            Command::Finish(_) => shown.push(format!("{path}.")),
        }
    }
    shown
}

struct Tree {
    plan: Plan,
    state: SwarmState,
}

impl Tree {
    fn start(plan: Plan) -> Self {
        let (state, _) = start(&plan);
        Self { plan, state }
    }

    fn tell(&mut self, at: &str, happened: Happened) -> Vec<String> {
        shown(&step(&self.plan, &mut self.state, &path(at), happened))
    }

    fn output(&self) -> &str {
        &self.state.outcome().unwrap().output
    }

    fn said_to(&self, at: &str) -> Vec<String> {
        let messages = &self.state.conversation(&path(at)).unwrap().messages;
        let shown = messages.iter().map(|message| match message {
            Message::System { content } => format!("system: {content}"),
            Message::User { content } => format!("user: {}", content.text()),
            Message::Assistant { content, tool_calls, .. } => {
                let calls: Vec<&str> = tool_calls.iter().map(|call| call.name.as_str()).collect();
                format!("assistant: {content}{}", calls.join(","))
            }
            Message::Tool { content, error, .. } => format!("tool: {content} {error}"),
        });
        shown.collect()
    }
}

#[test]
fn one_agent_is_a_tree_of_its_own() {
    let plan = agent("solo", &[]);
    let (mut state, commands) = start(&plan);
    assert_eq!(commands, [(Path::root(), Command::CallModel)]);

    let commands = step(&plan, &mut state, &Path::root(), says("hi"));

    assert_eq!(shown(&commands), ["."]);
    assert_eq!(state.outcome().unwrap().output, "hi");
    assert_eq!(due(&plan, &state), commands);
}

#[test]
fn each_output_is_the_next_input_and_a_stage_goes_on_when_all_have_answered() {
    let members = ["a", "b", "c", "d"].map(|name| agent(name, &[])).to_vec();
    let mut tree = Tree::start(workflow("flow", "a >> (c | b) >> d", members));

    assert_eq!(tree.tell("a", says("one")), ["a.", "c?", "b?"]);
    assert_eq!(tree.tell("b", says("bee")), ["b."]);
    assert_eq!(tree.tell("c", says("sea")), ["c.", "d?"]);
    assert_eq!(tree.said_to("b"), ["user: one", "assistant: bee"]);
    assert_eq!(tree.said_to("d"), ["user: sea\n\nbee"]);
    assert_eq!(tree.tell("d", says("end")), ["d.", "."]);
    assert_eq!(tree.output(), "end");
    assert_eq!(tree.state.used().0, 4);
}

#[test]
fn control_moves_when_the_other_calls_of_the_turn_have_their_answers() {
    let members = vec![agent("triage", &["billing", "sales"]), agent("billing", &[])];
    let members = [members, vec![agent("sales", &[])]].concat();
    let mut tree = Tree::start(swarm("desk", Topology::Handoff { max_handoffs: 10 }, members));

    let turn = [
        ("1", "look", "{}"),
        ("2", "transfer_to_billing", "{}"),
        ("3", "transfer_to_sales", "{}"),
    ];
    assert_eq!(tree.tell("triage", asks(&turn)), ["triage!look"]);
    let answer = Happened::Answered { call_id: "1".into(), answer: Answer::ok("found") };
    assert_eq!(tree.tell("triage", answer), ["triage.", "billing?"]);

    let history = [
        "user: go",
        "assistant: look,transfer_to_billing,transfer_to_sales",
        "tool: found false",
        "tool: `billing` goes on from here. false",
        "tool: control goes to `billing` already true",
        "user: go",
    ];
    assert_eq!(tree.said_to("billing"), history);
    let by = tree.state.handed_over_by(&tree.plan, &path("billing"));
    assert_eq!(by, Some(path("triage")));
    assert_eq!(tree.tell("billing", says("sales")), ["billing.", "."]);
    assert_eq!(tree.output(), "sales", "billing has declared no handoff");
}

#[test]
fn used_up_steps_do_not_keep_control_from_moving() {
    let mut triage = agent("triage", &["billing"]);
    if let Work::Agent(plan) = &mut triage.work {
        plan.opening.max_steps = 1;
    }
    let members = vec![triage, agent("billing", &["triage"])];
    let mut tree = Tree::start(swarm("desk", Topology::Handoff { max_handoffs: 1 }, members));

    let commands = tree.tell("triage", asks(&[("1", "transfer_to_billing", "")]));
    assert_eq!(commands, ["triage.", "billing?"]);

    assert_eq!(tree.tell("billing", says(" triage\n")), ["billing.", "."]);
    let error = tree.state.outcome().unwrap().error.clone().unwrap();
    assert_eq!(error.code, FailureCode::TooManyHandoffs);
    assert_eq!(error.message, "more than 1 handoffs: the last was from `billing` to `triage`");
}

#[test]
fn a_member_that_works_twice_has_a_path_for_each_time() {
    let members = vec![agent("a", &["b"]), agent("b", &["a"])];
    let mut tree = Tree::start(swarm("desk", Topology::Handoff { max_handoffs: 2 }, members));

    assert_eq!(tree.tell("a", says("b")), ["a.", "b?"]);
    assert_eq!(tree.tell("b", says("a")), ["b.", "a#2?"]);
    assert_eq!(tree.tell("a", says("late")), [""; 0]);
    assert_eq!(tree.tell("a#2", says("done")), ["a#2.", "."]);
    let ends: Vec<Message> = tree.state.messages(&tree.plan);
    assert_eq!(ends.last(), Some(&Message::assistant("done")));
}

fn team() -> Plan {
    swarm("crew", Topology::Team, ["lead", "one", "two"].map(|name| agent(name, &[])).to_vec())
}

#[test]
fn workers_work_at_the_same_time_and_answer_the_lead_in_call_order() {
    let mut tree = Tree::start(team());

    let turn = [
        ("1", "delegate_to_one", r#"{"task":"dig"}"#),
        ("2", "look", "{}"),
        ("3", "delegate_to_one", r#"{"task":"fill"}"#),
        ("4", "delegate_to_two", r#"{"job":"?"}"#),
    ];
    assert_eq!(tree.tell("lead", asks(&turn)), ["lead/one?", "lead/one#2?", "lead!look"]);
    assert_eq!(tree.said_to("lead/one#2"), ["user: fill"]);
    assert_eq!(shown(&due(&tree.plan, &tree.state)), ["lead!look", "lead/one?", "lead/one#2?"]);

    let forged = Happened::Answered { call_id: "1".into(), answer: Answer::ok("forged") };
    assert_eq!(tree.tell("lead", forged), [""; 0]);
    let answer = Happened::Answered { call_id: "2".into(), answer: Answer::ok("seen") };
    assert_eq!(tree.tell("lead", answer), [""; 0]);
    assert_eq!(tree.tell("lead/one#2", says("filled")), ["lead/one#2."]);
    let gone = Failure { code: FailureCode::ModelUnavailable, message: "gone".into() };
    assert_eq!(tree.tell("lead/one", Happened::ModelFailed(gone)), ["lead/one.", "lead?"]);

    let said = tree.said_to("lead");
    let answers =
        ["tool: `one` failed: gone true", "tool: seen false", "tool: filled false"].map(str::to_owned);
    assert_eq!(said[2..5], answers);
    assert!(said[5].contains("task") && said[5].ends_with("true"), "{}", said[5]);
    assert_eq!(tree.tell("lead", says("well done")), ["lead.", "."]);
    assert_eq!((tree.output(), tree.state.used().0), ("well done", 3));
}

#[test]
fn cancelling_the_root_ends_every_branch() {
    let mut tree = Tree::start(team());
    tree.tell("lead", asks(&[("1", "delegate_to_one", r#"{"task":"dig"}"#)]));

    let commands = tree.tell("", Happened::Cancelled { reason: "enough".into() });

    assert_eq!(commands, ["lead.", "lead/one.", "."]);
    let outcome = tree.state.outcome().unwrap();
    assert_eq!(outcome.finish_reason, FinishReason::Cancelled);
    assert_eq!(outcome.error.as_ref().unwrap().message, "enough");
    assert_eq!(tree.tell("lead/one", says("late")), [""; 0]);
    assert_eq!(tree.tell("", Happened::Cancelled { reason: "again".into() }), [""; 0]);
}

#[test]
fn a_failed_member_ends_the_whole_tree_in_its_own_name() {
    let inner = workflow("inner", "(x | y)", vec![agent("x", &[]), agent("y", &[])]);
    let mut tree = Tree::start(workflow("outer", "inner >> z", vec![inner, agent("z", &[])]));
    let gone = Failure { code: FailureCode::ModelAuth, message: "no key".into() };

    let commands = tree.tell("inner/y", Happened::ModelFailed(gone.clone()));

    assert_eq!(commands, ["inner/y.", "inner/x.", "inner.", "."]);
    assert_eq!(tree.state.failed(), Some((&path("inner/y"), &gone)));
    let error = tree.state.outcome().unwrap().error.clone().unwrap();
    assert_eq!(error, Failure { message: "`inner/y` failed: no key".into(), ..gone });
}

#[test]
fn no_model_call_begins_once_the_steps_of_all_are_used_up() {
    let mut plan = workflow("flow", "a >> (b | c)", ["a", "b", "c"].map(|n| agent(n, &[])).into());
    if let Work::Swarm(plan) = &mut plan.work {
        plan.max_steps = 2;
    }
    let mut tree = Tree::start(plan);
    assert_eq!(tree.tell("a", says("x")), ["a.", "b?", "c?"]);

    let commands = tree.tell("b", asks(&[("1", "look", "")]));
    assert_eq!(commands, ["b!look"], "the steps are used up, but no model is asked");
    let answer = Happened::Answered { call_id: "1".into(), answer: Answer::ok("seen") };
    assert_eq!(tree.tell("b", answer), ["b.", "c.", "."]);

    let error = tree.state.outcome().unwrap().error.clone().unwrap();
    assert_eq!(error.code, FailureCode::TooManySteps);
}

/// Names are by depth, so that none is twice in a tree.
fn plans(depth: u32, name: String) -> BoxedStrategy<Plan> {
    let leaf = Just(agent(&name, &[])).boxed();
    if depth == 0 {
        return leaf;
    }
    let member = |index: usize| plans(depth - 1, format!("{name}{index}"));
    let others = (member(1), member(2), member(3)).prop_map(|(a, b, c)| vec![a, b, c]);
    let lead = Just(agent(&format!("{name}0"), &[]));
    let within = (0..5_usize, lead, others).prop_map(move |(kind, lead, others)| {
        let all: Vec<Plan> = [vec![lead], others].concat();
        let names: Vec<String> = all.iter().map(|plan| plan.name.clone()).collect();
        let [a, b, c, d] = <[String; 4]>::try_from(names.clone()).unwrap();
        match kind {
            0 => workflow(&name, &format!("{a} >> ({b} | {c}) >> {d}"), all),
            1 => workflow(&name, &format!("({a} | {b} | {c} | {d})"), all),
            2 => swarm(&name, Topology::Team, all),
            _ => {
                let targets: Vec<&str> = names.iter().map(String::as_str).collect();
                let open = |plan: Plan| match plan.work {
                    Work::Agent(_) => agent(&plan.name, &targets),
                    Work::Swarm(_) => plan,
                };
                let all = all.into_iter().map(open).collect();
                swarm(&name, Topology::Handoff { max_handoffs: 3 }, all)
            }
        }
    });
    prop_oneof![1 => leaf, 6 => within].boxed()
}

/// A world in which everybody's answer depends only on who asks and how often.
struct World {
    seed: u64,
}

impl World {
    fn draw(&self, of: &impl Hash) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.seed, of).hash(&mut hasher);
        hasher.finish()
    }

    fn reply(&self, plan: &Plan, state: &SwarmState, at: &Path) -> Happened {
        let conversation = state.conversation(at).unwrap();
        let turn = (at.to_string(), conversation.steps);
        let name = at.name().unwrap_or(&plan.name);
        let agents = plan.agents();
        let (_, within) = agents.iter().find(|(plan, _)| plan.name == name).unwrap();
        let tools: Vec<String> = within
            .map(|swarm| swarm.tools_for(name).into_iter().map(|tool| tool.name).collect())
            .unwrap_or_default();
        let pick = |n: usize| tools.get(self.draw(&(&turn, n)) as usize % tools.len().max(1));
        let task = r#"{"task":"dig"}"#.to_owned();
        let call = |n: usize| match (pick(n), self.draw(&(&turn, n, "which")) % 5) {
            (Some(tool), 0..=2) => (tool.clone(), task.clone()),
            (Some(tool), 3) => (tool.clone(), "not json".to_owned()),
            (_, which) => (format!("own{which}"), format!("[{}]", conversation.steps)),
        };
        let calls: Vec<(String, String)> = match self.draw(&turn) % 12 {
            _ if conversation.steps > 2 => return says(&format!("{at} has done")),
            0 => {
                let failure = Failure { code: FailureCode::ModelRejected, message: "no".into() };
                return Happened::ModelFailed(failure);
            }
            1..=3 => return says(&format!("{at} says {}", conversation.steps)),
            4 => return says(pick(0).and_then(|tool| tool.split('_').next_back()).unwrap_or("x")),
            more => (0..more as usize % 3 + 1).map(call).collect(),
        };
        let calls: Vec<_> = calls.iter().map(|(name, args)| ("", &**name, &**args)).collect();
        asks(&calls)
    }
}

/// What somebody still has to do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Task {
    Model(Path),
    Tool(Path, String),
}

fn tasks(commands: Vec<(Path, Command)>, open: &mut Vec<Task>) {
    for (path, command) in commands {
        match command {
            Command::CallModel => open.push(Task::Model(path)),
            Command::CallTools(calls) => {
                open.extend(calls.into_iter().map(|call| Task::Tool(path.clone(), call.id)));
            }
            Command::Finish(_) => open.retain(|task| match task {
                Task::Model(at) | Task::Tool(at, _) => *at != path,
            }),
        }
    }
    open.sort();
}

/// Plays a run through, whoever is next decided by `choices`. On the way the state is written down and read back, and
/// what is due is compared with what is open.
fn play(plan: &Plan, world: &World, choices: &[usize]) -> Outcome {
    let (mut state, commands) = start(plan);
    let mut open = Vec::new();
    tasks(commands, &mut open);
    for turn in 0.. {
        let mut again = Vec::new();
        if let Some(outcome) = state.outcome() {
            assert_eq!(open, [], "nothing is left to do");
            assert_eq!(due(plan, &state), [(Path::root(), Command::Finish(outcome.clone()))]);
            return outcome.clone();
        }
        tasks(due(plan, &state), &mut again);
        assert_eq!(open, again);
        let choice = choices[turn % choices.len()] % open.len();
        let (at, happened) = match open.remove(choice) {
            Task::Model(at) => (at.clone(), world.reply(plan, &state, &at)),
            Task::Tool(at, call_id) => {
                let answer = Answer::ok(format!("{at} {call_id}"));
                (at, Happened::Answered { call_id, answer })
            }
        };
        let text = serde_json::to_string(&(&state, &happened)).unwrap();
        let (mut stored, replayed) = serde_json::from_str(&text).unwrap();
        let commands = step(plan, &mut state, &at, happened);
        assert_eq!(step(plan, &mut stored, &at, replayed), commands);
        assert_eq!(stored, state);
        tasks(commands, &mut open);
    }
    unreachable!()
}

proptest! {
    #[test]
    fn who_is_faster_makes_no_difference(
        plan in plans(2, "m".into()),
        seed in any::<u64>(),
        choices in prop::collection::vec(any::<usize>(), 1..40),
    ) {
        prop_assert_eq!(plan.check(), Ok(()));
        let world = World { seed };

        let (one, other) = (play(&plan, &world, &[0]), play(&plan, &world, &choices));

        // Which of two failures comes first is up to chance; that one does is not.
        if one.error.is_none() {
            prop_assert_eq!(other, one);
        } else {
            prop_assert!(other.error.is_some());
        }
    }

    #[test]
    fn a_plan_is_plain_data(plan in plans(2, "m".into())) {
        let text = serde_json::to_string(&plan).unwrap();
        prop_assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);
    }

    #[test]
    fn nonsense_changes_nothing_and_stops_nothing(
        plan in plans(2, "m".into()),
        nonsense in prop::collection::vec(("(m|m0|m1|m2|m3|m00|m11|m0#2)(/(m1|m2|m00|m11)){0,2}|", 0..5_u8), 0..30),
    ) {
        let (mut state, commands) = start(&plan);
        for (at, kind) in nonsense {
            let at = path(&at);
            let known = state.conversation(&at).is_some();
            let before = state.clone();
            let happened = match kind {
                0 => says("x"),
                1 => asks(&[("", "delegate_to_m1", "{"), ("", "transfer_to_m2", "")]),
                2 => Happened::Answered { call_id: "call_1_0".into(), answer: Answer::ok("") },
                3 => Happened::Started { input: Vec::new() },
                _ => Happened::Cancelled { reason: "no".into() },
            };
            let commands = step(&plan, &mut state, &at, happened);
            let ended = before.outcome().is_some();
            if ended || (!known && kind < 4) {
                prop_assert_eq!(&commands, &[]);
                prop_assert_eq!(&before, &state);
            }
        }
        prop_assert!(!commands.is_empty());
    }
}
