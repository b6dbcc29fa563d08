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

/// What is asked of whom: `a?` a model call, `a~` a summary, `a!tool` a tool call, `a.` an end.
fn shown(commands: &[(Path, Command)]) -> Vec<String> {
    let mut shown = Vec::new();
    for (path, command) in commands {
        match command {
            Command::CallModel => shown.push(format!("{path}?")),
            Command::Summarise { .. } => shown.push(format!("{path}~")),
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

    let turn =
        [("1", "look", "{}"), ("2", "transfer_to_billing", "{}"), ("3", "transfer_to_sales", "{}")];
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
fn nothing_is_summarised_for_a_member_that_has_passed_control_on() {
    let mut triage = agent("triage", &["billing"]);
    if let Work::Agent(plan) = &mut triage.work {
        plan.opening = plan.opening.clone().with_window(Some(crate::window::Window::new(60)));
    }
    let members = vec![triage, agent("billing", &[])];
    let mut tree = Tree::start(swarm("desk", Topology::Handoff { max_handoffs: 1 }, members));
    let answer =
        |id: String| Happened::Answered { call_id: id, answer: Answer::ok("word ".repeat(100)) };
    let mut summaries = 0;
    for turn in 0..8 {
        let (id, arguments) = (format!("call{turn}"), turn.to_string());
        tree.tell("triage", asks(&[(&id, "look", &arguments)]));
        if tree.tell("triage", answer(id)) == ["triage~"] {
            summaries += 1;
            tree.tell("triage", Happened::NotSummarised);
        }
    }
    assert!(summaries > 0, "the conversation is long enough");

    tree.tell("triage", asks(&[("last", "look", "{}"), ("3", "transfer_to_billing", "{}")]));

    assert_eq!(tree.tell("triage", answer("last".into())), ["triage.", "billing?"]);
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
    let answers = ["tool: `one` failed: gone true", "tool: seen false", "tool: filled false"]
        .map(str::to_owned);
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

#[path = "interleaving_tests.rs"]
mod interleaving;
