//! Following runs.

use std::time::Duration;

use http::Request;
use http_body_util::BodyExt as _;
use serde_json::json;
use shared_models::Service;
use testkit::{Api, Person, eventually};

use crate::harness::TestApp;
use crate::scene;

pub(crate) const LONG: &str = "one two three four five six seven eight nine ten";

/// An agent whose run takes long enough to be watched.
async fn talker(api: &Api) -> String {
    let turns = json!([
        { "tool_calls": [{ "name": "nothing" }], "delay_ms": 150 },
        { "tool_calls": [{ "name": "nothing", "arguments": { "n": 2 } }], "delay_ms": 150 },
        { "text": LONG, "delay_ms": 1_500 },
    ]);
    scene::scripted(api, "talker", &turns).await
}

#[tokio::test]
async fn what_is_replayed_is_what_was_shown_live() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let agent = talker(&api).await;
    let run = scene::start(&api, &agent).await;

    let live = scene::records(&scene::stream(&api, &run, 0).await);
    let replayed = scene::records(&scene::stream(&api, &run, 0).await);

    assert_eq!(live, replayed);
    assert_eq!(live.last().unwrap().1, "finished");
    assert_eq!(live.last().unwrap().2["data"]["message"]["content"], LONG);
    let seqs: Vec<i64> = live.iter().map(|(seq, ..)| *seq).collect();
    assert_eq!(seqs, (1..=seqs.len() as i64).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_late_second_viewer_sees_the_same() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let agent = talker(&api).await;
    let run = scene::start(&api, &agent).await;

    let late = async {
        eventually("half of the run", async || {
            (scene::kinds(&app.db, &run).await.len() >= 7).then_some(())
        })
        .await;
        scene::stream(&api, &run, 0).await
    };
    let (first, late) = tokio::join!(scene::stream(&api, &run, 0), late);

    assert_eq!(scene::records(&first), scene::records(&late));
}

#[tokio::test]
async fn a_stream_cut_anywhere_goes_on_after_the_last_record() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    let agent = talker(&api).await;
    let run = scene::start(&api, &agent).await;

    let (mut seen, mut last) = (Vec::new(), 0);
    for cut in [1, 2, 1, 3, 1, 4, usize::MAX] {
        let part = cut_after(&app, &owner, &run, last, cut).await;
        last = part.last().map_or(last, |(seq, ..)| *seq);
        seen.extend(part);
        if seen.last().is_some_and(|(_, kind, _)| kind == "finished") {
            break;
        }
    }

    assert_eq!(seen, scene::records(&scene::stream(&api, &run, 0).await));
}

/// Reads so many records of a stream, then hangs up.
async fn cut_after(
    app: &TestApp,
    person: &Person,
    run: &str,
    last: i64,
    records: usize,
) -> Vec<(i64, String, serde_json::Value)> {
    let request = Request::get(format!("/v1/runs/{run}/events"))
        .header("authorization", format!("Bearer {}", person.token(Service::Engine)))
        .header("last-event-id", last)
        .body(axum::body::Body::empty())
        .unwrap();
    let response = tower::ServiceExt::oneshot(app.router.clone(), request).await.unwrap();
    let (mut body, mut text) = (response.into_body(), String::new());
    while scene::records(&text).len() < records {
        let Some(frame) = body.frame().await else { break };
        text.push_str(std::str::from_utf8(frame.unwrap().data_ref().unwrap()).unwrap());
    }
    let mut seen = scene::records(&text);
    seen.truncate(records);
    seen
}

#[tokio::test]
async fn an_ended_stream_is_over() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    scene::agent(&api, &json!({ "name": "a", "model": "sim:echo" })).await;
    let body = json!({ "agent": "a", "input": "x", "wait": 30 });
    let run = api.post("/v1/runs", &body).await.expect(200)["run_id"].as_str().unwrap().to_owned();
    let last = scene::records(&scene::stream(&api, &run, 0).await).last().unwrap().0;

    let again = api.header("last-event-id", &last.to_string());
    let reply = again.get(&format!("/v1/runs/{run}/events")).await;

    assert_eq!((reply.status, reply.text.as_str()), (204, ""));
}

#[tokio::test]
async fn the_words_of_the_model_come_before_the_record_that_replaces_them() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let agent = talker(&api).await;
    let run = scene::start(&api, &agent).await;

    let stream = scene::stream(&api, &run, 0).await;

    let deltas: String = stream
        .split("\n\n")
        .filter(|block| block.contains("event: delta"))
        .map(|block| {
            let data = block.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
            let delta: serde_json::Value = serde_json::from_str(data).unwrap();
            delta["text"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(deltas, LONG, "{stream}");
}

#[tokio::test]
async fn a_viewer_who_is_no_longer_a_member_sees_nothing_more() {
    let app = TestApp::start_with(&[("SWITCHYARD_RECHECK_MS", "100")]).await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    let turns = json!([{ "text": "late", "delay_ms": 60_000 }]);
    let agent = scene::scripted(&api, "a", &turns).await;
    let run = scene::start(&api, &agent).await;
    app.peers.expel(owner.user);

    let limit = Duration::from_secs(45);
    let stream = tokio::time::timeout(limit, scene::stream(&api, &run, 0)).await.unwrap();

    assert!(!stream.contains("finished"), "{stream}");
}

#[tokio::test]
async fn who_may_not_see_content_does_not_come_to_see_it_while_watching() {
    let app = TestApp::start_with(&[("SWITCHYARD_RECHECK_MS", "50")]).await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    let agent = scene::scripted(&api, "a", &json!([{ "text": "sesame", "delay_ms": 1000 }])).await;
    let run = scene::start(&api, &agent).await;

    let blind = app.person(&owner.without_payloads());
    let stream = scene::stream(&blind, &run, 0).await;

    assert!(stream.contains("finished") && !stream.contains("sesame"), "{stream}");
}

#[tokio::test]
async fn a_long_journal_is_shown_without_a_gap() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let mut turns: Vec<serde_json::Value> = (0..40)
        .map(|n| json!({ "tool_calls": [{ "name": "nothing", "arguments": { "n": n } }] }))
        .collect();
    turns.push(json!({ "text": "done" }));
    let body = json!({ "name": "a", "model": "sim:script", "max_steps": 50,
        "instructions": scene::script(&turns.into()) });
    let agent = scene::agent(&api, &body).await;
    let run = scene::start(&api, &agent).await;
    scene::until(&api, &run, "succeeded").await;

    let records = scene::records(&scene::stream(&api, &run, 0).await);

    let seqs: Vec<i64> = records.iter().map(|(seq, ..)| *seq).collect();
    assert!(seqs.len() > 100);
    assert_eq!(seqs, (1..=seqs.len() as i64).collect::<Vec<_>>());
}

#[tokio::test]
async fn who_claims_to_have_seen_what_has_not_happened_yet_gets_everything() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let agent = scene::scripted(&api, "a", &json!([{ "text": "done", "delay_ms": 500 }])).await;
    let run = scene::start(&api, &agent).await;

    let limit = Duration::from_secs(45);
    let stream = tokio::time::timeout(limit, scene::stream(&api, &run, 1000)).await.unwrap();

    assert_eq!(scene::records(&stream)[0].0, 1);
    assert!(stream.contains("event: finished"), "{stream}");
}
