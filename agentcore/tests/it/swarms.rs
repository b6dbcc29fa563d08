//! Swarms on the simulated model: who works when, on what, and what comes of it.

use std::sync::Arc;

use agentcore::{
    Agent, AgentBuilder, FailureCode, FinishReason, Flow, FlowErrorKind, FnTool, Member, Message,
    Mode, ParallelGroup, PlanError, RunError, RunOptions, SerialGroup, Swarm, ToolError, run,
    run_with,
};
use serde_json::{Value, json};
use tokio::sync::Barrier;

pub(crate) fn scripted(name: &str, turns: &Value) -> AgentBuilder {
    Agent::builder(name).model("sim:script").instructions(format!("```sim\n{turns}\n```"))
}

pub(crate) fn says(name: &str, text: &str) -> Agent {
    scripted(name, &json!([{ "text": text }])).build().unwrap()
}

pub(crate) fn echo(name: &str) -> Agent {
    Agent::builder(name).model("sim:echo").build().unwrap()
}

pub(crate) fn calls(name: &str, arguments: &Value) -> Value {
    json!({ "tool_calls": [{ "name": name, "arguments": arguments }] })
}

/// One that answers only when somebody else has been asked at the same time.
pub(crate) fn meets(name: &str, barrier: &Arc<Barrier>) -> Agent {
    let barrier = barrier.clone();
    let meet = FnTool::new("meet", "Waits.", json!({ "type": "object" }), move |_| {
        let barrier = barrier.clone();
        async move {
            barrier.wait().await;
            Ok::<_, ToolError>("met")
        }
    });
    let turns = json!([calls("meet", &json!({})), { "text": format!("{name} has met") }]);
    scripted(name, &turns).tool(meet).build().unwrap()
}

pub(crate) fn texts(messages: &[Message]) -> Vec<String> {
    let text = |message: &Message| match message {
        Message::System { content } => content.clone(),
        Message::User { content } => format!("> {}", content.text()),
        Message::Assistant { content, tool_calls, .. } => {
            let names = tool_calls.iter().map(|call| format!("[{}]", call.name));
            content.clone() + &names.collect::<String>()
        }
        Message::Tool { content, error, .. } => {
            format!("{}: {content}", if *error { "error" } else { "ok" })
        }
    };
    messages.iter().map(text).collect()
}

#[tokio::test]
async fn in_a_workflow_each_output_is_the_next_input_and_the_result_is_the_last_ones() {
    let swarm = Swarm::builder()
        .agents([says("a", "{{input}}, then a"), says("b", "{{input}}, then b")])
        .agent(says("c", "{{input}}, then c"))
        .flow("a >> c >> b")
        .build()
        .unwrap();

    let result = run(&swarm, "go").await.unwrap();

    assert_eq!(result.output, "go, then a, then c, then b");
    assert_eq!(result.finish_reason, FinishReason::Stop);
}

#[tokio::test]
async fn without_a_flow_members_work_in_the_order_of_the_list() {
    let swarm = Swarm::builder()
        .agents([says("b", "{{input}}b"), says("a", "{{input}}a")])
        .build()
        .unwrap();
    assert_eq!(run(&swarm, ":").await.unwrap().output, ":ba");
}

#[tokio::test]
async fn usage_and_steps_of_a_workflow_are_summed_over_all() {
    let one = run(&says("a", "x y z"), "go").await.unwrap();
    let swarm = Swarm::builder()
        .agents([says("a", "x y z"), says("b", "{{input}} again")])
        .build()
        .unwrap();

    let both = run(&swarm, "go").await.unwrap();

    let second = run(&says("b", "{{input}} again"), "x y z").await.unwrap();
    assert_eq!(both.steps, 2);
    assert_eq!(both.total_tokens(), one.total_tokens() + second.total_tokens());
    assert_eq!(texts(&both.messages), ["> go", "x y z", "> x y z", "x y z again"]);
}

#[tokio::test]
async fn the_members_of_a_stage_work_at_the_same_time_on_the_same_input() {
    let barrier = Arc::new(Barrier::new(2));
    let swarm = Swarm::builder()
        .agents([meets("one", &barrier), meets("two", &barrier), echo("end")])
        .flow("(two | one) >> end")
        .build()
        .unwrap();

    let result = run(&swarm, "go").await.unwrap();

    assert_eq!(result.output, "two has met\n\none has met");
    let asked = texts(&result.messages).into_iter().filter(|text| text == "> go");
    assert_eq!(asked.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn outputs_are_joined_in_order_of_declaration_whoever_is_faster() {
    let slow = |name: &str, delay: u32| {
        scripted(name, &json!([{ "text": name, "delay_ms": delay }])).build().unwrap()
    };
    let swarm = Swarm::builder()
        .agents([slow("a", 300), slow("b", 200), slow("c", 100)])
        .flow("(a | b | c)")
        .separator(" + ")
        .build()
        .unwrap();

    let begun = tokio::time::Instant::now();
    assert_eq!(run(&swarm, "go").await.unwrap().output, "a + b + c");
    assert!(begun.elapsed().as_millis() < 400, "{:?}", begun.elapsed());
}

#[test]
fn a_flow_that_is_wrong_says_where() {
    let build = |flow: &str| {
        let builder = Swarm::builder().agents([echo("a"), echo("b"), echo("c")]);
        match builder.flow(flow).build().unwrap_err() {
            PlanError::Flow(error) => (error.column, error.kind),
            other => panic!("{other}"),
        }
    };

    assert_eq!(build("a >> x"), (6, FlowErrorKind::UnknownName("x".into())));
    assert_eq!(build("(a | a)"), (6, FlowErrorKind::Duplicate("a".into())));
    assert_eq!(build("a >> >> b"), (6, FlowErrorKind::EmptyStage));
    assert_eq!(build("a >> b >> a"), (11, FlowErrorKind::Cycle("a".into())));
    assert!(matches!(build("a >> (b | c"), (6, FlowErrorKind::Syntax(_))));
    assert!("a >> (b | c)".parse::<Flow>().is_ok());
}

#[test]
fn a_swarm_that_cannot_work_is_refused_when_it_is_built() {
    let build = |builder: agentcore::SwarmBuilder| builder.build().unwrap_err();
    let pair = || Swarm::builder().agents([echo("a"), echo("b")]);

    assert_eq!(build(Swarm::builder()), PlanError::NoMembers);
    assert_eq!(build(pair().agent(echo("a"))), PlanError::DuplicateMember("a".into()));
    assert_eq!(build(pair().agent(echo("a/b"))), PlanError::MemberName("a/b".into()));
    assert_eq!(build(pair().max_steps(0)), PlanError::NoSteps);
    let group = ParallelGroup::new("both", [echo("a"), echo("b")]);
    let led = Swarm::builder().agent(group).agent(echo("c")).mode(Mode::Team);
    assert_eq!(build(led), PlanError::Lead("both".into()));
    let lost = Agent::builder("lost").model("sim:echo").handoff("nobody").build().unwrap();
    let lost = Swarm::builder().agents([lost]).mode(Mode::Handoff);
    let expected = PlanError::UnknownHandoff { agent: "lost".into(), target: "nobody".into() };
    assert_eq!(build(lost), expected);
    let own = FnTool::new("delegate_to_b", "", json!({ "type": "object" }), async |_| {
        Ok::<_, ToolError>("mine")
    });
    let lead = Agent::builder("a").model("sim:echo").tool(own).build().unwrap();
    let clash = Swarm::builder().agents([lead, echo("b")]).mode(Mode::Team);
    let expected = PlanError::ToolClash { agent: "a".into(), tool: "delegate_to_b".into() };
    assert_eq!(build(clash), expected);
    let mut deep = Member::from(echo("x"));
    for depth in 0..20 {
        deep = SerialGroup::new(format!("g{depth}"), [deep]).into();
    }
    assert_eq!(build(Swarm::builder().agent(deep)), PlanError::TooDeep);
}

#[tokio::test]
async fn a_group_that_cannot_work_says_so_when_it_is_run() {
    let error = run(&SerialGroup::new("twice", [echo("a"), echo("a")]), "go").await.unwrap_err();
    assert_eq!(error.to_string(), "two members are called `a`");
}

#[tokio::test]
async fn groups_and_swarms_stand_in_a_flow_wherever_an_agent_may() {
    let both = ParallelGroup::new("both", [says("x", "x:{{input}}"), says("y", "y:{{input}}")]);
    let line = SerialGroup::new("line", [says("p", "{{input}}p"), says("q", "{{input}}q")]);
    let inner = Swarm::builder().agents([says("i", "<{{input}}>")]).build().unwrap();
    let swarm = Swarm::builder()
        .agent(both.separator("|"))
        .agent(line)
        .agent(inner.named("inner"))
        .agent(echo("end"))
        .flow("both >> (line | inner) >> end")
        .build()
        .unwrap();

    let result = run(&swarm, "go").await.unwrap();

    assert_eq!(result.output, "x:go|y:gopq\n\n<x:go|y:go>");
    assert_eq!(result.steps, 6);
}

#[tokio::test]
async fn a_nested_swarm_has_its_own_history_and_only_text_passes_in_and_out() {
    let inner = Swarm::builder().agents([echo("i"), says("j", "out")]).build().unwrap();
    let swarm = Swarm::builder().agent(inner.named("inner")).agent(echo("end")).build().unwrap();
    let history = vec![Message::user("before"), Message::assistant("yes"), Message::user("go")];

    let result = run(&swarm, history).await.unwrap();

    assert_eq!(texts(&result.messages), ["> go", "out", "> out", "out"]);
}

#[tokio::test]
async fn a_history_reaches_the_first_agents() {
    let swarm = Swarm::builder().agents([echo("a")]).build().unwrap();
    let options = RunOptions::new().messages(vec![Message::user("one"), Message::assistant("two")]);

    let result = run_with(&swarm, "three", options).await.unwrap();

    assert_eq!(texts(&result.messages), ["> one", "two", "> three", "three"]);
    let kept = run_with(&swarm, "x", RunOptions::new().conversation("c1")).await.unwrap_err();
    assert!(kept.to_string().contains("keeps no conversation"), "{kept}");
}

#[tokio::test]
async fn the_failure_of_a_member_ends_the_swarm_in_its_name() {
    let fails = scripted("broken", &json!([{ "fail": { "status": 400 } }])).build().unwrap();
    let inner = Swarm::builder().agents([echo("x"), fails]).build().unwrap();
    let swarm = Swarm::builder().agents([inner.named("inner")]).agent(echo("z")).build().unwrap();

    let error = run(&swarm, "go").await.unwrap_err();

    let RunError::Failed { agent, failure, result } = error else { panic!("{error}") };
    assert_eq!((agent.as_str(), failure.code), ("inner/broken", FailureCode::ModelRejected));
    assert_eq!((result.steps, result.finish_reason), (1, FinishReason::Error));
}

#[tokio::test]
async fn the_members_of_a_swarm_share_its_steps() {
    let swarm = Swarm::builder().agents([echo("a"), echo("b"), echo("c")]).build().unwrap();

    let error = run_with(&swarm, "go", RunOptions::new().max_steps(2)).await.unwrap_err();

    assert_eq!(error.failure().unwrap().code, FailureCode::TooManySteps);
    assert_eq!(error.result().unwrap().steps, 2);
    assert!(run_with(&swarm, "go", RunOptions::new().max_steps(3)).await.is_ok());
}

#[tokio::test]
async fn the_last_members_output_type_is_the_swarms() {
    let schema = json!({ "type": "object", "required": ["n"],
        "properties": { "n": { "type": "integer" } } });
    let writer = scripted("writer", &json!([{ "text": "{\"n\":7}" }])).output_schema(schema);
    let swarm = Swarm::builder().agents([echo("a"), writer.build().unwrap()]).build().unwrap();
    assert_eq!(run(&swarm, "go").await.unwrap().parsed, Some(json!({ "n": 7 })));
}
