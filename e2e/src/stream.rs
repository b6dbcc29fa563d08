//! Reading a run's events as a browser would.

use eventsource_stream::Eventsource as _;
use futures::StreamExt as _;
use serde_json::Value;

/// One event of a stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The sequence number.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Its data.
    pub data: Value,
}

/// All durable events from the start to the end of the run.
pub async fn follow(url: &str, key: &str, run: &str) -> Vec<Event> {
    follow_from(url, key, run, None, usize::MAX).await.0
}

/// Durable events after `last`, until the stream ends or `most` have come. Says also the HTTP status.
pub async fn follow_from(
    url: &str,
    key: &str,
    run: &str,
    last: Option<u64>,
    most: usize,
) -> (Vec<Event>, u16) {
    let http = servicekit::peer::internal_http().unwrap();
    let mut request = http.get(format!("{url}/v1/runs/{run}/events")).bearer_auth(key);
    if let Some(last) = last {
        request = request.header("last-event-id", last.to_string());
    }
    let response = request.send().await.expect("the stream opens");
    let status = response.status().as_u16();
    let mut stream = response.bytes_stream().eventsource();
    let mut events = Vec::new();
    while events.len() < most {
        let Some(Ok(event)) = stream.next().await else { break };
        // A reader's last id outlives the event that set it, so passing events are told by their name.
        if event.event != "delta"
            && let Ok(id) = event.id.parse()
        {
            let data = serde_json::from_str(&event.data).unwrap_or_default();
            events.push(Event { id, name: event.event, data });
        }
    }
    (events, status)
}
