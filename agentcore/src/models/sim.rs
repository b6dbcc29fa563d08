//! `sim`: a simulated model for demos and tests. It needs no key and no network, understands nothing, and says the
//! same to the same conversation every time. It is not a language model, and says so where it speaks for itself.
//!
//! - `sim:echo` repeats the last thing the user said, word for word.
//! - `sim:demo` calls the first tool once, with arguments made up from the tool's schema and the user's words, then
//!   reports what the tool said.
//! - `sim:script` plays the turns written in the system prompt between ```` ```sim ```` and ```` ``` ````: see
//!   [`Turn`].
//! - `sim:embed` makes vectors out of words without knowing what they mean: see [`Embedder`](super::Embedder).
//!
//! A program writes its script with [`Sim::script`].

mod embed;
mod fill;
mod heard;
mod perform;
mod script;
mod turn;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use futures::stream::BoxStream;
use shared_models::message::ToolCall;
use shared_models::usage::Usage;

use self::heard::{Heard, words};
use self::perform::Performance;
use self::script::Script;
pub use self::turn::{Fail, ScriptedCall, Turn};
use crate::model::{
    Model, ModelError, ModelErrorKind, ModelEvent, ModelRequest, Reply, ReplyFinish, ToolChoice,
};

/// More failing conversations than this at a time are forgotten and begin anew.
const MOST_FAILING: usize = 10_000;
const LONGEST_QUOTE: usize = 500;

/// The simulated model. Cheap to clone.
///
/// ```
/// use agentcore::Model;
/// use agentcore::models::sim::Sim;
///
/// assert_eq!(Sim::new().name(), "sim");
/// ```
#[derive(Clone, Default)]
pub struct Sim {
    /// How often each conversation has been failed on purpose, so that a scripted failure can pass. This is the only
    /// thing remembered from call to call.
    failed: Arc<Mutex<HashMap<u64, u32>>>,
    script: Option<Arc<Script>>,
}

impl Sim {
    pub const NAME: &'static str = "sim";

    pub fn new() -> Self {
        Self::default()
    }

    /// Plays a turn for each call, in the order they come, whatever the model's name and whoever asks; then refuses,
    /// unless the last one is to [`repeat`](Turn::repeat).
    ///
    /// ```
    /// use std::sync::Arc;
    /// use agentcore::models::sim::{Sim, Turn};
    /// use agentcore::{Agent, run};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let sim = Sim::script([Turn::text("Who is there?")]);
    /// let agent = Agent::builder("door").model(Arc::new(sim.clone())).build()?;
    ///
    /// assert_eq!(run(&agent, "Knock, knock.").await?.output, "Who is there?");
    /// assert_eq!(sim.asked()[0].messages.len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn script(turns: impl IntoIterator<Item = Turn>) -> Self {
        let script = Script::new(turns.into_iter().collect());
        Self { script: Some(Arc::new(script)), ..Self::default() }
    }

    /// What it was asked with [`Sim::script`] so far.
    pub fn asked(&self) -> Vec<ModelRequest> {
        self.script.as_ref().map(|script| script.asked()).unwrap_or_default()
    }

    fn perform(&self, request: &ModelRequest) -> Performance {
        let heard = Heard::from(request);
        if let Some(script) = &self.script {
            let ended = || ModelError::new(ModelErrorKind::Invalid, "the script has ended");
            return match script.next(request) {
                Some(turn) => self.play(turn, request, &heard),
                None => Performance::refuse(ended()),
            };
        }
        match request.model.as_str() {
            "echo" => Performance::say(reply(&heard, heard.input.clone(), Vec::new())),
            "demo" => {
                let (text, calls) = demo(request, &heard);
                Performance::say(reply(&heard, text, calls))
            }
            "script" => self.play_written(request, &heard),
            other => {
                let why = format!("sim has no model `{other}`; there are echo, demo and script");
                let error = ModelError::new(ModelErrorKind::Invalid, why).with_status(404);
                Performance::refuse(error)
            }
        }
    }

    /// Plays the script in the instructions.
    fn play_written(&self, request: &ModelRequest, heard: &Heard) -> Performance {
        let turns = match script::read(&request.messages) {
            Ok(turns) => turns,
            Err(why) => {
                return Performance::refuse(ModelError::new(ModelErrorKind::Invalid, why));
            }
        };
        if let Some(turn) = script::nth(&turns, heard.replies) {
            return self.play(turn, request, heard);
        }
        let text = "The script has ended. (This is a simulated model.)";
        Performance::say(reply(heard, text.into(), Vec::new()))
    }

    fn play(&self, turn: &Turn, request: &ModelRequest, heard: &Heard) -> Performance {
        if let Some(fail) = &turn.fail
            && self.fails(request, fail)
        {
            return Performance::refuse(fail.error()).paced_as(turn);
        }
        let (text, calls) = turn.spoken(&heard.input, &heard.last_tool_result);
        let mut reply = reply(heard, text, calls);
        reply.reasoning = (!turn.reasoning.is_empty()).then(|| turn.reasoning.clone());
        reply.usage.reasoning_tokens = words(&turn.reasoning);
        reply.usage = turn.usage.unwrap_or(reply.usage);
        reply.finish = turn.finish.unwrap_or(reply.finish);
        Performance::say(reply).paced_as(turn)
    }

    /// Fails a conversation as often as the script says, then lets it pass and forgets it.
    fn fails(&self, request: &ModelRequest, fail: &Fail) -> bool {
        let Some(times) = fail.times else { return true };
        let mut hasher = DefaultHasher::new();
        format!("{:?}", request.messages).hash(&mut hasher);
        let conversation = hasher.finish();
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let so_far = failed.remove(&conversation).unwrap_or(0);
        if so_far >= times {
            return false;
        }
        if failed.len() >= MOST_FAILING {
            failed.clear();
        }
        failed.insert(conversation, so_far + 1);
        true
    }
}

impl Model for Sim {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn stream(&self, request: &ModelRequest) -> BoxStream<'static, Result<ModelEvent, ModelError>> {
        self.perform(request).stream()
    }
}

fn demo(request: &ModelRequest, heard: &Heard) -> (String, Vec<(String, String)>) {
    if let Some(tool) = &heard.tool_answered {
        let result: String = heard.last_tool_result.chars().take(LONGEST_QUOTE).collect();
        let text = format!("I am a simulated model. The tool `{tool}` answered: {result}");
        return (text, Vec::new());
    }
    let tool = match &request.tool_choice {
        ToolChoice::None => None,
        ToolChoice::Tool(name) => request.tools.iter().find(|tool| tool.name == *name),
        ToolChoice::Auto | ToolChoice::Required => request.tools.first(),
    };
    let Some(tool) = tool else {
        let input: String = heard.input.chars().take(LONGEST_QUOTE).collect();
        return (format!("I am a simulated model without tools. You said: {input}"), Vec::new());
    };
    let arguments = fill::arguments(&tool.parameters, &heard.input);
    let text = format!("I am a simulated model and call the tool `{}`.", tool.name);
    (text, vec![(tool.name.clone(), arguments.to_string())])
}

fn reply(heard: &Heard, content: String, calls: Vec<(String, String)>) -> Reply {
    let turn = heard.replies_ever;
    let calls = calls.into_iter().enumerate();
    let tool_calls: Vec<ToolCall> = calls
        .map(|(index, (name, arguments))| ToolCall {
            id: format!("sim_{turn}_{index}"),
            name,
            arguments,
        })
        .collect();
    let finish = if tool_calls.is_empty() { ReplyFinish::Stop } else { ReplyFinish::ToolCalls };
    let called = tool_calls.iter().map(|call| 1 + words(&call.arguments));
    let usage = Usage {
        input_tokens: heard.words,
        output_tokens: words(&content) + called.sum::<u64>(),
        ..Usage::default()
    };
    Reply { content, tool_calls, usage, finish, ..Reply::default() }
}

#[cfg(test)]
#[path = "sim_tests.rs"]
mod tests;
