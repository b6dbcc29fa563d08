//! What a swarm shows while it works, and who may stop it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agentcore::{
    Agent, Context, EventKind, FailureCode, FnTool, HookPoint, Mode, ParallelGroup, RunOptions,
    StreamEvent, Swarm, ToolCx, ToolError, run, run_blocking, run_stream, run_stream_with,
    run_with, tool,
};
use futures::StreamExt;
use serde_json::json;

use crate::swarms::{calls, echo, says, scripted};

fn team() -> Swarm {
    let delegated =
        |task: &str| json!({ "name": "delegate_to_researcher", "arguments": { "task": task } });
    let turn = json!({ "tool_calls": [delegated("a"), delegated("b")] });
    let lead = scripted("lead", &json!([turn, { "text": "done" }])).build().unwrap();
    Swarm::builder().agents([lead, echo("researcher")]).mode(Mode::Team).build().unwrap()
}

#[tokio::test]
async fn inner_events_carry_their_path_and_one_sequence_counts_them_all() {
    let options = RunOptions::new().detailed();
    let events: Vec<StreamEvent> =
        run_stream_with(&team(), "go", options).map(Result::unwrap).collect().await;

    let numbers: Vec<u64> = events.iter().map(|event| event.seq).collect();
    assert_eq!(numbers, (1..=events.len() as u64).collect::<Vec<_>>());
    let texts: Vec<(String, &str, &str)> = events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::Text { text } => {
                Some((event.path.join("/"), &*event.agent_name, text.as_str()))
            }
            _ => None,
        })
        .collect();
    let expected = [
        ("lead/researcher".to_owned(), "researcher", "a"),
        ("lead/researcher#2".to_owned(), "researcher", "b"),
        ("lead".to_owned(), "lead", "done"),
    ];
    assert_eq!(texts, expected);
    let last = events.last().unwrap();
    assert!(matches!(&last.kind, EventKind::Finished { result } if result.output == "done"));
}

#[tokio::test]
async fn a_handover_is_shown() {
    let triage = scripted("triage", &json!([{ "text": "billing" }])).handoff("billing");
    let swarm = Swarm::builder().agents([triage.build().unwrap(), echo("billing")]);
    let swarm = swarm.mode(Mode::Handoff).build().unwrap();

    let events = run_stream_with(&swarm, "go", RunOptions::new().detailed());
    let events: Vec<EventKind> = events.map(|event| event.unwrap().kind).collect().await;

    let handoff = EventKind::Handoff { from: "triage".into(), to: "billing".into() };
    assert_eq!(events.iter().filter(|kind| **kind == handoff).count(), 1);
}

#[tokio::test]
async fn a_failed_swarm_ends_its_stream_with_the_error() {
    let broken = scripted("broken", &json!([{ "fail": { "status": 400 } }])).build().unwrap();
    let swarm = Swarm::builder().agents([echo("a"), broken]).build().unwrap();

    let mut events: Vec<_> = run_stream(&swarm, "go").collect().await;

    let error = events.pop().unwrap().unwrap_err();
    assert!(error.to_string().starts_with("the agent `broken` failed"), "{error}");
    assert!(events.iter().all(Result::is_ok));
}

#[test]
fn a_swarm_runs_without_a_runtime() {
    assert_eq!(run_blocking(&team(), "go").unwrap().output, "done");
}

/// Tells how often it was dropped in the middle.
struct Guard(Arc<AtomicUsize>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn hangs(name: &str, dropped: &Arc<AtomicUsize>) -> Agent {
    let dropped = dropped.clone();
    let hang = FnTool::new("hang", "Hangs.", json!({ "type": "object" }), move |_| {
        let guard = Guard(dropped.clone());
        async move {
            let _guard = guard;
            std::future::pending::<Result<String, ToolError>>().await
        }
    });
    scripted(name, &json!([calls("hang", &json!({}))])).tool(hang).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn one_deadline_gives_up_every_branch() {
    let dropped = Arc::new(AtomicUsize::new(0));
    let all = ["a", "b", "c"].map(|name| hangs(name, &dropped));
    let group = ParallelGroup::new("all", all);

    let late = tokio::time::timeout(Duration::from_secs(5), run(&group, "go")).await;

    assert!(late.is_err());
    assert_eq!(dropped.load(Ordering::SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn a_failure_gives_up_the_branches_beside_it_but_not_the_lead() {
    let dropped = Arc::new(AtomicUsize::new(0));
    let fail = json!([{ "fail": { "status": 400 }, "delay_ms": 10 }]);
    let broken = scripted("broken", &fail).build().unwrap();
    let pair = ParallelGroup::new("pair", [hangs("a", &dropped), broken]);
    let lead = json!([calls("delegate_to_pair", &json!({ "task": "x" })), { "text": "{{last_tool_result}}" }]);
    let lead = scripted("lead", &lead).build().unwrap();
    let swarm = Swarm::builder().agent(lead).agent(pair).mode(Mode::Team).build().unwrap();

    let result = run(&swarm, "go").await.unwrap();

    assert!(result.output.contains("`lead/pair/broken` failed"), "{}", result.output);
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
}

fn watched(name: &str, seen: &Arc<Mutex<Vec<String>>>) -> Agent {
    let mut agent = Agent::builder(name).model("sim:echo");
    for point in [HookPoint::Start, HookPoint::PreLlmCall, HookPoint::Finished, HookPoint::Error] {
        let seen = seen.clone();
        agent = agent.hook(point, move |data| {
            seen.lock().unwrap().push(format!("{} {:?}", data.agent().name(), data.point()));
            async { Ok(()) }
        });
    }
    agent.build().unwrap()
}

#[tokio::test]
async fn the_hooks_of_each_agent_are_called_for_that_agent() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let swarm = Swarm::builder().agents([watched("a", &seen), echo("b"), watched("c", &seen)]);

    run(&swarm.build().unwrap(), "go").await.unwrap();

    let expected =
        ["a Start", "a PreLlmCall", "a Finished", "c Start", "c PreLlmCall", "c Finished"];
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[tokio::test]
async fn a_failing_hook_of_a_member_ends_the_swarm() {
    for point in [HookPoint::Start, HookPoint::PreLlmCall, HookPoint::Finished] {
        let strict = Agent::builder("strict").model("sim:echo");
        let strict = strict.hook(point, async |_| Err("not today".into())).build().unwrap();
        let swarm =
            Swarm::builder().agents([echo("a"), strict, says("never", "x")]).build().unwrap();

        let error = run(&swarm, "go").await.unwrap_err();

        assert_eq!(error.failure().unwrap().code, FailureCode::HookFailed, "{point:?}");
        assert!(error.to_string().contains("strict") && error.to_string().contains("not today"));
        assert!(error.result().unwrap().steps <= 2);
    }
}

/// Writes down that somebody was here, and who was before.
#[tool(effect = read)]
fn sign(name: String, cx: &ToolCx) -> String {
    let context = cx.context();
    let before = context.get_as::<String>("signed").unwrap_or_else(|| "-".into());
    context.set("signed", format!("{before}{name}"));
    before
}

fn signs(name: &str) -> Agent {
    let turns =
        json!([calls("sign", &json!({ "name": name })), { "text": "{{last_tool_result}}" }]);
    scripted(name, &turns).tool(sign).build().unwrap()
}

#[tokio::test]
async fn what_members_write_down_reaches_those_after_them_and_not_those_beside_them() {
    let swarm = Swarm::builder()
        .agents([signs("a"), signs("b"), signs("c"), signs("d")])
        .flow("a >> (b | c) >> d")
        .build()
        .unwrap();
    let context = Context::new();

    let result = run_with(&swarm, "go", RunOptions::new().context(context.clone())).await.unwrap();

    assert_eq!(result.output, "-ac", "c was merged last");
    assert_eq!(context.get_as::<String>("signed").as_deref(), Some("-acd"));
}
