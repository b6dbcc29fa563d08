//! The swarms of the guide for users of the Python original, in Rust.

use agentcore::{Agent, Flow, Mode, ParallelGroup, SerialGroup, Swarm, SwarmBuilder, run};
use serde_json::json;

use crate::swarms::{says, scripted, texts};

fn article() -> [Agent; 3] {
    [
        says("researcher", "facts about {{input}}"),
        says("writer", "article from {{input}}"),
        says("reviewer", "reviewed: {{input}}"),
    ]
}

#[tokio::test]
async fn a_swarm_groups_agents_and_says_in_which_order_they_work() {
    let [researcher, writer, reviewer] = article();
    let swarm = Swarm::builder()
        .agents([researcher, writer, reviewer])
        .flow("researcher >> writer >> reviewer")
        .mode(Mode::Workflow)
        .build()
        .unwrap();

    let result = run(&swarm, "quantum computing").await.unwrap();

    assert_eq!(result.output, "reviewed: article from facts about quantum computing");
}

#[tokio::test]
async fn triage_delegates_to_an_agent_of_its_handoffs_by_its_name() {
    let (billing, support, sales) =
        (says("billing", "it is paid"), says("support", "try again"), says("sales", "buy"));
    let triage = scripted("triage", &json!([{ "text": "billing" }]))
        .handoffs([&billing, &support, &sales])
        .build()
        .unwrap();
    let swarm = Swarm::builder()
        .agents([triage, billing, support, sales])
        .mode(Mode::Handoff)
        .build()
        .unwrap();

    assert_eq!(run(&swarm, "my invoice").await.unwrap().output, "it is paid");
}

#[tokio::test]
async fn the_lead_of_a_team_gets_a_tool_for_each_worker() {
    let delegated = |name: &str, task: &str| json!({ "name": name, "arguments": { "task": task } });
    let turns = json!([
        { "tool_calls": [delegated("delegate_to_analyst", "count"), delegated("delegate_to_coder", "code")] },
        { "text": "all done" },
    ]);
    let lead = scripted("lead", &turns).build().unwrap();
    let (analyst, coder) = (says("analyst", "{{input}}ed 3"), says("coder", "{{input}}d"));
    let swarm = Swarm::builder().agents([lead, analyst, coder]).mode(Mode::Team).build().unwrap();

    let result = run(&swarm, "go").await.unwrap();

    assert_eq!(result.output, "all done");
    assert_eq!(texts(&result.messages)[2..4], ["ok: counted 3", "ok: coded"]);
}

#[tokio::test]
async fn without_a_flow_the_agents_work_in_the_order_of_the_list() {
    let letters = ["a", "b", "c"].map(|name| says(name, &format!("{{{{input}}}}{name}")));
    let listed: SwarmBuilder = Swarm::builder().agents(letters);

    assert_eq!(run(&listed.clone().build().unwrap(), "").await.unwrap().output, "abc");
    let flow = "a >> b >> c";
    assert_eq!(run(&listed.flow(flow).build().unwrap(), "").await.unwrap().output, "abc");
    assert_eq!(flow.parse::<Flow>().unwrap().to_string(), flow);
}

#[tokio::test]
async fn groups_behave_like_agents_in_a_flow() {
    let parallel =
        ParallelGroup::new("research_team", [says("agent_a", "A"), says("agent_b", "B")])
            .separator("\n\n");
    let serial = SerialGroup::new(
        "pipeline",
        [says("agent_c", "c({{input}})"), says("agent_d", "d({{input}})")],
    );
    let swarm = Swarm::builder()
        .agent(parallel)
        .agent(serial)
        .flow("research_team >> pipeline")
        .build()
        .unwrap();

    assert_eq!(run(&swarm, "go").await.unwrap().output, "d(c(A\n\nB))");
}

#[tokio::test]
async fn a_swarm_is_nested_under_a_name() {
    let letter = |name: &str| says(name, &format!("{name}({{{{input}}}})"));
    let inner = Swarm::builder().agents([letter("a"), letter("b")]).flow("a >> b").build().unwrap();
    let outer = Swarm::builder()
        .agent(letter("c"))
        .agent(inner.named("inner_pipeline"))
        .agent(letter("d"))
        .flow("c >> inner_pipeline >> d")
        .build()
        .unwrap();

    let result = run(&outer, "x").await.unwrap();

    assert_eq!(result.output, "d(b(a(c(x))))");
    let history = ["> x", "c(x)", "> c(x)", "b(a(c(x)))", "> b(a(c(x)))", "d(b(a(c(x))))"];
    assert_eq!(texts(&result.messages), history, "of the inner one, what went in and came out");
}
