//! Whoever is faster, whenever the process dies: a run comes to the same end.

use std::hash::{DefaultHasher, Hash, Hasher};

use proptest::prelude::*;

use super::*;

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
            more => (0..=more as usize % 3).map(call).collect(),
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
            Command::CallModel | Command::Summarise { .. } => open.push(Task::Model(path)),
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
    // Each case is a whole run, written down and read back at every step.
    #![proptest_config(ProptestConfig::with_cases(64))]

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
