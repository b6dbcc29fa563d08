//! Streams over connections that break all the time: whatever is cut where, every client sees every record once, in order.

use futures::stream::{self, StreamExt as _};
use serde_json::{Value, json};
use servicekit::Lifecycle;
use shared_models::Service;
use testkit::{Api, Cutter, Person};
use tokio::net::TcpListener;

use crate::harness::TestApp;
use crate::scene;

/// What comes through of an answer at most, headers included: a run's records are several times as long.
const MOST: u64 = 2500;
/// Runs that are watched at the same time.
const AT_ONCE: usize = 16;

type Record = (i64, String, Value);

/// How many runs; `make streams` takes 1,000.
#[allow(clippy::disallowed_methods, reason = "a test's own setting")]
fn count() -> usize {
    std::env::var("SWITCHYARD_TEST_STREAMS").map_or(60, |count| count.parse().unwrap())
}

/// Watches a run from its beginning, beginning again after the last whole record whenever the connection breaks, until
/// the server says that there is nothing more. Gives the records and how often it began.
async fn watch(owner: &Person, url: &str, run: &str) -> (Vec<Record>, usize) {
    let http = reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap();
    let (mut seen, mut tries) = (Vec::<Record>::new(), 0);
    loop {
        tries += 1;
        let last = seen.last().map_or(0, |(seq, ..)| *seq);
        let asked = http
            .get(format!("{url}/v1/runs/{run}/events"))
            .bearer_auth(owner.token(Service::Engine))
            .header("last-event-id", last)
            .send();
        // Cut within the headers.
        let Ok(answer) = asked.await else { continue };
        if answer.status() == 204 {
            return (seen, tries);
        }
        assert_eq!(answer.status(), 200);
        let mut said = Vec::new();
        let mut chunks = answer.bytes_stream();
        while let Some(Ok(chunk)) = chunks.next().await {
            said.extend_from_slice(&chunk);
        }
        // An event is whole when the empty line after it has come.
        let text = String::from_utf8_lossy(&said);
        let whole = text.rfind("\n\n").map_or("", |end| &text[..end + 2]);
        seen.extend(scene::records(whole));
    }
}

async fn talker(api: &Api) -> String {
    let turns = json!([
        { "tool_calls": [{ "name": "nothing" }], "delay_ms": 20 },
        { "text": "one two three four five six seven eight nine ten", "delay_ms": 10, "pace_ms": 5 },
    ]);
    scene::scripted(api, "talker", &turns).await
}

#[tokio::test]
#[allow(clippy::disallowed_methods, reason = "a client of the test's own")]
async fn streams_that_are_cut_at_any_byte_are_seen_whole_by_every_client() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let agent = talker(&app.person(&owner)).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let life = Lifecycle::new();
    servicekit::serve("cut streams", listener, app.router.clone(), &life);
    let cutter = Cutter::start(address, MOST, 7).await;
    let url = cutter.url();

    let watched = stream::iter(0..count()).map(async |_| {
        let api = app.person(&owner);
        let run = scene::start(&api, &agent).await;
        let (seen, tries) = watch(&owner, &url, &run).await;
        let whole = scene::records(&scene::stream(&app.person(&owner), &run, 0).await);
        assert_eq!(seen, whole, "{run}, seen in {tries} parts");
        let seqs: Vec<i64> = seen.iter().map(|(seq, ..)| *seq).collect();
        assert_eq!(seqs, (1..=seqs.len() as i64).collect::<Vec<_>>(), "{run}");
        assert_eq!(seen.last().unwrap().1, "finished", "{run}");
        tries
    });
    let tries: Vec<usize> = watched.buffer_unordered(AT_ONCE).collect().await;

    let cuts = cutter.cuts();
    assert!(cuts as usize > count(), "{cuts} cuts of {} streams", tries.len());
    life.hard().cancel();
}
