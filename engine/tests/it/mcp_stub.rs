//! An MCP server, as far as an engine notices: streamable HTTP, by the book of the revision it is told to speak.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use serde_json::{Value, json};
use testkit::{Answer, Stub, Stubbed};

type Tools = Arc<dyn Fn(&str, &Value) -> Answer + Send + Sync>;

pub(crate) struct McpStub {
    pub(crate) stub: Stub,
    state: Arc<State>,
}

struct State {
    protocol: &'static str,
    tools: Mutex<Value>,
    /// Greetings so far; each begins another session.
    sessions: AtomicUsize,
    /// The next request in a session hears that there is none.
    expired: AtomicBool,
    /// Answers are sent as a stream of events, after a notification that the tools have changed.
    stream: AtomicBool,
    call: Tools,
}

impl McpStub {
    /// Speaks this revision and has these tools; `call` answers calls of them.
    pub(crate) async fn start(
        protocol: &'static str,
        tools: Value,
        call: impl Fn(&str, &Value) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let state = Arc::new(State {
            protocol,
            tools: Mutex::new(tools),
            sessions: AtomicUsize::new(0),
            expired: AtomicBool::new(false),
            stream: AtomicBool::new(false),
            call: Arc::new(call),
        });
        let known = state.clone();
        Self { stub: Stub::start(move |seen| known.answer(seen)).await, state }
    }

    pub(crate) fn url(&self) -> String {
        format!("{}/mcp", self.stub.url())
    }

    pub(crate) fn list(&self, tools: Value) {
        *self.state.tools.lock().unwrap() = tools;
    }

    pub(crate) fn expire(&self) {
        self.state.expired.store(true, Ordering::SeqCst);
    }

    pub(crate) fn stream(&self) {
        self.state.stream.store(true, Ordering::SeqCst);
    }

    pub(crate) fn sessions(&self) -> usize {
        self.state.sessions.load(Ordering::SeqCst)
    }

    /// What has been asked with this method.
    pub(crate) fn asked(&self, method: &str) -> Vec<Stubbed> {
        let of = |seen: &Stubbed| seen.method == "POST" && seen.json()["method"] == method;
        self.stub.requests().into_iter().filter(of).collect()
    }
}

impl State {
    fn answer(&self, seen: &Stubbed) -> Answer {
        if seen.method != "POST" {
            return Answer::Raw(405, Vec::new(), Vec::new());
        }
        let asked = seen.json();
        let (method, id) = (asked["method"].as_str().unwrap_or_default(), &asked["id"]);
        let session = format!("s{}", self.sessions.load(Ordering::SeqCst));
        match method {
            "server/discover" => {
                return Answer::Json(400, error(id, -32601, "no such method"));
            }
            "initialize" => {
                let number = self.sessions.fetch_add(1, Ordering::SeqCst) + 1;
                let headers = vec![
                    ("mcp-session-id".into(), format!("s{number}")),
                    ("content-type".into(), "application/json".into()),
                ];
                let result = json!({ "protocolVersion": self.protocol,
                    "capabilities": { "tools": { "listChanged": true } },
                    "serverInfo": { "name": "stub", "version": "1" } });
                let body = json!({ "jsonrpc": "2.0", "id": id, "result": result });
                return Answer::Raw(200, headers, body.to_string().into_bytes());
            }
            _ => {}
        }
        if seen.header("mcp-session-id") != session || self.expired.swap(false, Ordering::SeqCst) {
            return Answer::Raw(404, Vec::new(), Vec::new());
        }
        let result = match method {
            "tools/list" => json!({ "tools": *self.tools.lock().unwrap() }),
            "tools/call" => {
                let name = asked["params"]["name"].as_str().unwrap();
                match (self.call)(name, &asked["params"]["arguments"]) {
                    Answer::Json(200, result) => result,
                    other => return other,
                }
            }
            _ => return Answer::Raw(202, Vec::new(), Vec::new()),
        };
        let body = json!({ "jsonrpc": "2.0", "id": id, "result": result });
        if method == "tools/call" && self.stream.load(Ordering::SeqCst) {
            let changed = json!({ "jsonrpc": "2.0", "method": "notifications/tools/list_changed" });
            let events = format!("data: {changed}\n\n: still here\n\nid: 7\ndata: {body}\n\n");
            let headers = vec![("content-type".into(), "text/event-stream".into())];
            return Answer::Raw(200, headers, events.into_bytes());
        }
        Answer::Json(200, body)
    }
}

fn error(id: &Value, code: i32, message: &str) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message } })
}

/// A tool as servers list it.
pub(crate) fn tool(name: &str, annotations: Value) -> Value {
    json!({ "name": name, "description": format!("Does {name}."), "annotations": annotations,
        "inputSchema": { "type": "object", "properties": { "n": {} } } })
}

/// A result of one text.
pub(crate) fn said(text: &str) -> Answer {
    Answer::Json(200, json!({ "content": [{ "type": "text", "text": text }] }))
}
