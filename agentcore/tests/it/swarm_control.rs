//! Swarms in which members pass work on themselves: by handing over, and by delegating.

use std::sync::Arc;

use agentcore::{
    Agent, FailureCode, FnTool, Mode, ParallelGroup, RunError, SerialGroup, Swarm, ToolError, run,
};
use serde_json::{Value, json};
use tokio::sync::Barrier;

use crate::swarms::{calls, echo, meets, says, scripted, texts};

fn hands_over(name: &str, turns: &Value, to: &[&str]) -> Agent {
    scripted(name, turns).handoffs(to.iter().copied()).build().unwrap()
}

fn transfer(to: &str) -> Value {
    json!([calls(&format!("transfer_to_{to}"), &json!({})), { "text": "still here" }])
}

fn desk(agents: Vec<Agent>) -> Swarm {
    Swarm::builder().agents(agents).mode(Mode::Handoff).build().unwrap()
}

#[tokio::test]
async fn the_first_agent_answers_when_it_hands_over_to_nobody() {
    let swarm = desk(vec![
        hands_over("triage", &json!([{ "text": "done" }]), &["billing"]),
        echo("billing"),
    ]);
    let result = run(&swarm, "hi").await.unwrap();
    assert_eq!((result.output.as_str(), result.steps), ("done", 1));
}

#[tokio::test]
async fn a_transfer_moves_control_with_the_history_and_the_original_input() {
    let swarm =
        desk(vec![hands_over("triage", &transfer("billing"), &["billing"]), echo("billing")]);

    let result = run(&swarm, "my bill").await.unwrap();

    assert_eq!(result.output, "my bill");
    let expected = [
        "> my bill",
        "[transfer_to_billing]",
        "ok: `billing` goes on from here.",
        "> my bill",
        "my bill",
    ];
    assert_eq!(texts(&result.messages), expected);
    assert_eq!(result.steps, 2);
}

#[tokio::test]
async fn an_output_that_equals_a_targets_name_moves_control() {
    let swarm = desk(vec![
        hands_over("triage", &json!([{ "text": "billing\n" }]), &["billing"]),
        says("billing", "paid"),
    ]);
    assert_eq!(run(&swarm, "hi").await.unwrap().output, "paid");

    let swarm = desk(vec![
        hands_over("triage", &json!([{ "text": "to billing" }]), &["billing"]),
        says("billing", "paid"),
    ]);
    assert_eq!(run(&swarm, "hi").await.unwrap().output, "to billing", "not the name alone");
}

#[tokio::test]
async fn control_moves_only_to_an_agents_own_declared_handoffs() {
    let sly = hands_over(
        "sly",
        &json!([calls("transfer_to_vault", &json!({})), { "text": "vault" }]),
        &["desk"],
    );
    let swarm = desk(vec![sly, echo("desk"), says("vault", "gold")]);

    let result = run(&swarm, "hi").await.unwrap();

    assert_eq!(result.output, "vault", "its name, not its gold");
    let texts = texts(&result.messages);
    assert!(texts[2].starts_with("error: there is no tool `transfer_to_vault`"), "{}", texts[2]);
}

#[tokio::test]
async fn more_handoffs_than_allowed_are_an_error() {
    let ping = hands_over("ping", &transfer("pong"), &["pong"]);
    let pong = hands_over("pong", &transfer("ping"), &["ping"]);

    let error = run(&desk(vec![ping.clone(), pong.clone()]), "go").await.unwrap_err();

    let RunError::Failed { failure, result, .. } = error else { panic!("{error}") };
    assert_eq!(failure.code, FailureCode::TooManyHandoffs);
    assert!(failure.message.contains("more than 10 handoffs"), "{failure}");
    assert_eq!(result.steps, 11, "ten handoffs are allowed");

    let few = Swarm::builder().agents([ping, pong]).mode(Mode::Handoff).max_handoffs(2);
    let error = run(&few.build().unwrap(), "go").await.unwrap_err();
    assert_eq!(error.result().unwrap().steps, 3);
}

#[tokio::test]
async fn control_may_go_to_a_nested_swarm_which_hears_the_original_input_alone() {
    let inner =
        SerialGroup::new("back office", [says("x", "x({{input}})"), says("y", "y({{input}})")]);
    let swarm = Swarm::builder()
        .agent(hands_over("triage", &transfer("back_office"), &["back office"]))
        .agent(inner)
        .mode(Mode::Handoff)
        .build()
        .unwrap();

    let result = run(&swarm, "bill").await.unwrap();

    assert_eq!(result.output, "y(x(bill))");
    assert_eq!(texts(&result.messages).last().unwrap(), "y(x(bill))");
}

fn crew(lead: Agent, workers: Vec<Agent>) -> Swarm {
    Swarm::builder().agent(lead).agents(workers).mode(Mode::Team).build().unwrap()
}

fn delegates(to: &[(&str, &str)]) -> Value {
    let calls: Vec<Value> = to
        .iter()
        .map(|(name, task)| {
            json!({ "name": format!("delegate_to_{name}"), "arguments": { "task": task } })
        })
        .collect();
    json!([{ "tool_calls": calls }, { "text": "they say {{last_tool_result}}" }])
}

#[tokio::test]
async fn a_workers_output_is_the_result_of_the_leads_call() {
    let lead = scripted("lead", &delegates(&[("digger", "dig")])).build().unwrap();
    let swarm = crew(lead, vec![says("digger", "dug: {{input}}")]);

    let result = run(&swarm, "make a hole").await.unwrap();

    assert_eq!(result.output, "they say dug: dig");
    let expected = ["> make a hole", "[delegate_to_digger]", "ok: dug: dig", "they say dug: dig"];
    assert_eq!(texts(&result.messages), expected);
    assert_eq!(result.steps, 3, "the worker's steps count too");
}

#[tokio::test]
async fn workers_and_the_leads_own_tools_work_at_the_same_time() {
    let barrier = Arc::new(Barrier::new(3));
    let here = barrier.clone();
    let meet = FnTool::new("meet", "Waits.", json!({ "type": "object" }), move |_| {
        let here = here.clone();
        async move {
            here.wait().await;
            Ok::<_, ToolError>("lead has met")
        }
    });
    let delegated = |name: &str| json!({ "name": name, "arguments": { "task": "go" } });
    let turn = json!({ "tool_calls": [
        delegated("delegate_to_one"), { "name": "meet" }, delegated("delegate_to_two"),
    ] });
    let lead = scripted("lead", &json!([turn, { "text": "all met" }])).tool(meet);
    let swarm = crew(lead.build().unwrap(), vec![meets("one", &barrier), meets("two", &barrier)]);

    let result = run(&swarm, "go").await.unwrap();

    let expected = ["ok: one has met", "ok: lead has met", "ok: two has met"];
    assert_eq!(texts(&result.messages)[2..5], expected);
}

#[tokio::test]
async fn one_worker_may_have_two_tasks_at_once() {
    let barrier = Arc::new(Barrier::new(2));
    let lead = scripted("lead", &delegates(&[("one", "a"), ("one", "b")])).build().unwrap();

    let result = run(&crew(lead, vec![meets("one", &barrier)]), "go").await.unwrap();

    assert_eq!(texts(&result.messages)[2..4], ["ok: one has met", "ok: one has met"]);
}

#[tokio::test]
async fn a_failing_worker_is_an_error_the_lead_can_answer_to() {
    let broken = scripted("broken", &json!([{ "fail": { "status": 400 } }])).build().unwrap();
    let lead = scripted("lead", &delegates(&[("broken", "try")])).build().unwrap();

    let result = run(&crew(lead, vec![broken]), "go").await.unwrap();

    let answer = &texts(&result.messages)[2];
    assert!(answer.starts_with("error: `broken` failed: "), "{answer}");
    assert!(result.output.starts_with("they say `broken` failed"), "{}", result.output);
}

#[tokio::test]
async fn a_task_that_is_missing_is_an_error_the_lead_can_answer_to() {
    let lead = scripted(
        "lead",
        &json!([calls("delegate_to_one", &json!({ "job": 1 })), { "text": "oh" }]),
    );
    let swarm = crew(lead.build().unwrap(), vec![says("one", "never")]);

    let result = run(&swarm, "go").await.unwrap();

    assert!(texts(&result.messages)[2].contains("\"task\" is a required"), "{result:?}");
    assert_eq!(result.steps, 2);
}

#[tokio::test]
async fn a_worker_may_be_a_group_or_a_swarm() {
    let both = ParallelGroup::new("both", [says("x", "x{{input}}"), says("y", "y{{input}}")]);
    let inner_lead = scripted("chief", &delegates(&[("hand", "inner")])).build().unwrap();
    let inner = crew(inner_lead, vec![says("hand", "did {{input}}")]).named("squad");
    let lead = scripted("lead", &delegates(&[("both", "1"), ("squad", "2")])).build().unwrap();
    let swarm =
        Swarm::builder().agent(lead).agent(both).agent(inner).mode(Mode::Team).build().unwrap();

    let result = run(&swarm, "go").await.unwrap();

    assert_eq!(texts(&result.messages)[2..4], ["ok: x1\n\ny1", "ok: they say did inner"]);
}

#[tokio::test]
async fn a_workflow_with_a_parallel_stage_works_inside_a_team() {
    let flow = Swarm::builder()
        .agents([says("plan", "plan {{input}}"), says("facts", "facts"), says("style", "style")])
        .flow("plan >> (facts | style)")
        .name("desk")
        .build()
        .unwrap();
    let lead = scripted("lead", &delegates(&[("desk", "ants")])).build().unwrap();
    let swarm = Swarm::builder().agent(lead).agent(flow).mode(Mode::Team).build().unwrap();

    let result = run(&swarm, "write").await.unwrap();

    assert_eq!((result.output.as_str(), result.steps), ("they say facts\n\nstyle", 5));
}
