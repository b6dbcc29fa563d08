//! Hooks and forks: what the hooks of a run have let pass holds for what its fork repeats, and for nothing else.

use serde_json::{Value, json};
use testkit::Api;

use crate::forks::{self, ended, fork, id, reference};
use crate::scene;

/// An agent that says what it is told, with these hooks.
async fn agent(api: &Api, hooks: &Value) -> String {
    let body = json!({ "name": "a", "model": "sim:echo", "hooks": hooks });
    scene::agent(api, &body).await
}

fn not_bad() -> Value {
    json!({ "point": "pre_llm_call", "rule": "messages.all(m, m.content != 'bad')", "message": "bad words" })
}

/// How a fork of the run ends.
async fn forked(api: &Api, run: &str, body: &Value, status: &str) -> Value {
    scene::until(api, &id(&fork(api, run, body).await), status).await
}

fn assert_vetoed(run: &Value, why: &str) {
    assert_eq!(run["error"]["code"], "hook_failed", "{run}");
    assert!(run["error"].to_string().contains(why), "{run}");
}

#[tokio::test]
async fn an_edited_input_is_shown_to_the_rules_that_have_let_the_other_one_pass() {
    let app = forks::app().await;
    let api = app.person(&app.trust.owner());
    let agent = agent(&api, &json!([not_bad()])).await;
    let run = ended(&api, &agent).await;

    for mode in ["dry", "live"] {
        let body = json!({ "edits": { "input": "bad" }, "mode": mode });
        assert_vetoed(&forked(&api, &run, &body, "failed").await, "bad words");
        let body = json!({ "edits": { "input": "good" }, "mode": mode });
        assert_eq!(forked(&api, &run, &body, "succeeded").await["output"], "good");
    }
}

#[tokio::test]
async fn an_edited_result_is_shown_to_the_rules_and_one_that_stands_is_not_shown_again() {
    let app = forks::app().await;
    let api = app.person(&app.trust.owner());
    let (agent, _server) = reference(&api).await;
    let rule = json!({ "point": "post_tool_call", "rule": "result.content != 'refused'", "message": "not that" });
    api.patch(&format!("/v1/agents/{agent}"), &json!({ "hooks": [rule] })).await.expect(200);
    let run = ended(&api, &agent).await;
    let records = forks::journal(&app.db, &run).await;
    let last = records.iter().rfind(|(_, kind, _)| kind == "tool_answered").unwrap();
    // Before the model is asked what it says of the last result.
    let asked = records.iter().rfind(|(_, kind, _)| kind == "model_called").unwrap();
    let from = json!({ "seq": asked.0 - 1 });

    let edits = json!({ "tool_results": [{ "call_id": last.2["call_id"], "content": "refused" }] });
    let edited = forked(&api, &run, &json!({ "from": from, "edits": edits }), "failed").await;
    let same = forked(&api, &run, &json!({ "from": from }), "succeeded").await;

    assert_vetoed(&edited, "not that");
    let mine = forks::journal(&app.db, &id(&same)).await;
    let shown = |records: &[(i64, String, Value)]| {
        records
            .iter()
            .filter(|(_, kind, data)| kind == "hook_passed" && data["point"] == "post_tool_call")
            .count()
    };
    assert_eq!((shown(&records), shown(&mine)), (5, 5), "each result once");
}

#[tokio::test]
async fn a_live_fork_is_bound_by_the_hooks_of_today_and_by_the_rules_of_then() {
    let app = forks::app().await;
    let api = app.person(&app.trust.owner());
    let agent = agent(&api, &json!([not_bad()])).await;
    let run = ended(&api, &agent).await;
    let path = format!("/v1/agents/{agent}");
    let never = json!({ "point": "pre_llm_call", "rule": "false", "message": "not today" });
    let (live, dry) = (json!({ "mode": "live" }), json!({}));

    api.patch(&path, &json!({ "hooks": [never] })).await.expect(200);
    assert_vetoed(&forked(&api, &run, &live, "failed").await, "not today");
    assert_eq!(forked(&api, &run, &dry, "succeeded").await["output"], "go", "as it was");

    api.patch(&path, &json!({ "hooks": [] })).await.expect(200);
    let bad = json!({ "mode": "live", "edits": { "input": "bad" } });
    assert_vetoed(&forked(&api, &run, &bad, "failed").await, "bad words");
    assert_eq!(forked(&api, &run, &live, "succeeded").await["output"], "go");
}

#[tokio::test]
async fn another_version_of_the_agent_has_let_nothing_pass_yet() {
    let app = forks::app().await;
    let api = app.person(&app.trust.owner());
    let (agent, _server) = reference(&api).await;
    let path = format!("/v1/agents/{agent}");
    let rule = |rule: &str| json!({ "hooks": [{ "point": "post_llm_call", "rule": rule, "message": "no" }] });
    let first = api.patch(&path, &rule("true")).await.expect(200);
    let run = ended(&api, &agent).await;
    let second = api.patch(&path, &rule("false")).await.expect(200);
    assert_ne!(first["version"], second["version"]);
    let records = forks::journal(&app.db, &run).await;
    let replied = records.iter().rfind(|(_, kind, _)| kind == "model_replied").unwrap().0;

    // The last reply stands, and the first version's hook has let it pass.
    let from = json!({ "seq": records.last().unwrap().0 });
    assert!(records.iter().any(|(seq, kind, _)| kind == "hook_passed" && *seq > replied));
    let same = forked(&api, &run, &json!({ "from": from }), "succeeded").await;
    let body = json!({ "from": from, "edits": { "agent_version": second["version"] } });
    let other = forked(&api, &run, &body, "failed").await;

    assert_eq!(same["status"], "succeeded");
    assert_vetoed(&other, "no");
}

#[tokio::test]
async fn a_run_with_too_many_records_is_neither_forked_nor_compared() {
    let app = forks::app().await;
    let api = app.person(&app.trust.owner());
    let agent = agent(&api, &json!([])).await;
    let run = ended(&api, &agent).await;
    sqlx::query(
        "insert into engine.journal (run_id, seq, tenant_id, epoch, path, kind, v, data)
         select run_id, 1000 + n, tenant_id, epoch, path, kind, v, data
         from engine.journal, generate_series(1, 20000) n where run_id = $1::uuid and seq = 1",
    )
    .bind(scene::bare(&run))
    .execute(&mut app.db.admin().await)
    .await
    .unwrap();

    let forked = api.post(&format!("/v1/runs/{run}/fork"), &json!({})).await;
    let compared = api.get(&format!("/v1/runs/{run}/diff?with={run}")).await;

    assert_eq!(forked.refusal(), (422, "run_too_long"));
    assert_eq!(compared.refusal(), (422, "run_too_long"));
}
