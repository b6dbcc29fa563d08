//! Runs agents, and whatever else can be run, in memory. Nothing is kept: a run that must outlive its process is driven
//! elsewhere, by the same [`step`](crate::step()).

use std::fmt;
use std::future::ready;
use std::sync::{Arc, Mutex, PoisonError};

use futures::channel::mpsc;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use shared_models::usage::Usage;

use crate::context::{Conflict, Context};
use crate::event::{ContextChange, EventKind, StreamEvent, Watch};
use crate::options::{Input, RunOptions};
use crate::result::{RunError, RunResult};

/// Something that can be run: an agent, or several that work together.
///
/// ```
/// use agentcore::{Agent, ParallelGroup, Runnable, run_blocking};
///
/// let agent = |name: &str| Agent::builder(name).model("sim:echo").build();
/// let (one, both) = (agent("one")?, ParallelGroup::new("both", [agent("a")?, agent("b")?]));
/// for runnable in [&one as &dyn Runnable, &both] {
///     assert!(run_blocking(runnable, "Hi")?.output.starts_with("Hi"));
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Runnable: Send + Sync {
    fn name(&self) -> &str;

    /// Runs to the end, as one of the runs of `cx`. The options are those of this run alone.
    fn run_in(
        &self,
        input: Input,
        options: RunOptions,
        cx: RunCx,
    ) -> BoxFuture<'_, Result<RunResult, RunError>>;

    /// The context it brings along, for runs that are given none.
    fn context(&self) -> Option<Context> {
        None
    }
}

/// What a run shares with the runs it starts. A tool that runs agents finds its own in [`ToolCx::run`](crate::ToolCx):
///
/// ```
/// use agentcore::{Agent, Runnable, ToolCx, ToolError, tool};
///
/// /// Asks somebody who knows.
/// #[tool]
/// async fn ask_expert(question: String, cx: &ToolCx) -> Result<String, ToolError> {
///     let expert = Agent::builder("expert").model("sim:echo").build();
///     let expert = expert.map_err(|error| ToolError::tell(error.to_string()))?;
///     // Its events are seen below ours, and it works on a fork of our context.
///     let child = cx.run.child();
///     let result = expert.run_in(question.into(), cx.run.child_options(), child.clone()).await;
///     let result = result.map_err(|error| ToolError::tell(error.to_string()))?;
///     child.merge_context();
///     cx.run.spend(result.usage, result.steps);
///     Ok(result.output)
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let agent = Agent::builder("lead").model("sim:demo").tool(ask_expert).build()?;
/// let result = agentcore::run(&agent, "Why?").await?;
/// assert_eq!(result.steps, 3, "two of the lead and one of the expert");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RunCx {
    pub(crate) watch: Watch,
    pub(crate) context: Context,
    pub(crate) inherited: Arc<RunOptions>,
    spent: Arc<Mutex<Spent>>,
}

/// What the runs within a run consumed.
///
/// ```
/// use agentcore::{RunCx, Spent};
///
/// let cx = RunCx::default();
/// assert_eq!(cx.spent(), Spent::default());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    pub usage: Usage,
    pub steps: u32,
}

impl RunCx {
    pub fn new(watch: Watch, context: Context) -> Self {
        Self { watch, context, inherited: Arc::default(), spent: Arc::default() }
    }

    /// Where its events go.
    pub fn watch(&self) -> &Watch {
        &self.watch
    }

    /// What agents and tools know in common.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// For a run within this one: it sees this run's context and writes to a level of its own, which whoever started it
    /// merges when it has succeeded.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { context: self.context.fork(), ..self.clone() }
    }

    /// The options that hold for runs within this one as well.
    pub fn child_options(&self) -> RunOptions {
        (*self.inherited).clone()
    }

    /// Adds what a run within this one consumed to what this one did.
    pub fn spend(&self, usage: Usage, steps: u32) {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        spent.usage += usage;
        spent.steps = spent.steps.saturating_add(steps);
    }

    /// What was added so far.
    pub fn spent(&self) -> Spent {
        *self.spent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes this level of the context to the one it was forked from, and tells viewers.
    pub fn merge_context(&self) -> Vec<Conflict> {
        let names = self.context.changed();
        if names.is_empty() {
            return Vec::new();
        }
        let conflicts = self.context.merge();
        self.watch.emit(0, || {
            let conflicts = conflicts.iter().map(|conflict| conflict.name.clone()).collect();
            EventKind::Context(ContextChange::Merged { names, conflicts })
        });
        conflicts
    }

    /// The same, as seen by a run of that name: its events have its path, and what it spends is its own.
    pub(crate) fn enter(&self, name: &str, options: &RunOptions) -> Self {
        Self {
            watch: self.watch.enter(name),
            context: self.context.clone(),
            inherited: Arc::new(options.for_child()),
            spent: Arc::default(),
        }
    }

    /// The same for a member of a swarm, which may have worked there before.
    pub(crate) fn enter_as(&self, segment: &str, name: &str, options: &RunOptions) -> Self {
        let entered = self.enter(segment, options);
        Self { watch: entered.watch.named(name), ..entered }
    }
}

impl Default for RunCx {
    fn default() -> Self {
        Self::new(Watch::nobody(), Context::new())
    }
}

impl fmt::Debug for RunCx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RunCx({:?})", self.watch)
    }
}

/// Runs an agent, or agents that work together, to the end. Dropping the future gives up the run.
///
/// ```
/// use agentcore::{Agent, run};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let agent = Agent::builder("parrot").model("sim:echo").build()?;
/// assert_eq!(run(&agent, "Hello").await?.output, "Hello");
/// # Ok(())
/// # }
/// ```
pub async fn run<R: Runnable + ?Sized>(
    runnable: &R,
    input: impl Into<Input>,
) -> Result<RunResult, RunError> {
    run_with(runnable, input, RunOptions::default()).await
}

/// Like [`run`], with options.
///
/// ```
/// use agentcore::{Agent, RunOptions, run_with};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let agent = Agent::builder("parrot").model("sim:echo").build()?;
/// assert_eq!(run_with(&agent, "Hello", RunOptions::new().max_retries(0)).await?.output, "Hello");
/// # Ok(())
/// # }
/// ```
pub async fn run_with<R: Runnable + ?Sized>(
    runnable: &R,
    input: impl Into<Input>,
    options: RunOptions,
) -> Result<RunResult, RunError> {
    outermost(runnable, input.into(), options, &Watch::nobody()).await
}

/// Like [`run`], for callers without an async runtime; blocks this thread until the end.
///
/// ```
/// use agentcore::{Agent, run_blocking};
///
/// let agent = Agent::builder("parrot").model("sim:echo").build()?;
/// assert_eq!(run_blocking(&agent, "Hello")?.output, "Hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn run_blocking<R: Runnable + ?Sized>(
    runnable: &R,
    input: impl Into<Input>,
) -> Result<RunResult, RunError> {
    run_blocking_with(runnable, input, RunOptions::default())
}

/// Like [`run_blocking`], with options.
pub fn run_blocking_with<R: Runnable + ?Sized>(
    runnable: &R,
    input: impl Into<Input>,
    options: RunOptions,
) -> Result<RunResult, RunError> {
    let input = input.into();
    // A thread of its own, because a runtime cannot be started on one that already belongs to a runtime.
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("agent".into());
        let run = thread.spawn_scoped(scope, || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let result = runtime.block_on(run_with(runnable, input, options));
            // A blocking tool that was given up may still be at it; nobody waits for it.
            runtime.shutdown_background();
            result
        })?;
        run.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Like [`run`], showing what happens as it happens. The last item is [`EventKind::Finished`] or an error; dropping the
/// stream gives up the run.
///
/// ```
/// use agentcore::{Agent, EventKind, run_stream};
/// use futures::StreamExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let agent = Agent::builder("parrot").model("sim:echo").build()?;
/// let (mut events, mut said) = (run_stream(&agent, "Hello world"), String::new());
/// while let Some(event) = events.next().await {
///     if let EventKind::Text { text } = event?.kind {
///         said.push_str(&text);
///     }
/// }
/// assert_eq!(said, "Hello world");
/// # Ok(())
/// # }
/// ```
pub fn run_stream<R: Runnable + Clone + 'static>(
    runnable: &R,
    input: impl Into<Input>,
) -> BoxStream<'static, Result<StreamEvent, RunError>> {
    run_stream_with(runnable, input, RunOptions::default())
}

/// Like [`run_stream`], with options.
pub fn run_stream_with<R: Runnable + Clone + 'static>(
    runnable: &R,
    input: impl Into<Input>,
    options: RunOptions,
) -> BoxStream<'static, Result<StreamEvent, RunError>> {
    let (runnable, input) = (runnable.clone(), input.into());
    let (sender, events) = mpsc::unbounded();
    let shown = sender.clone();
    let work = async move {
        // A send fails only when nobody looks any more, and then this future is dropped too.
        let show = move |event| drop(shown.unbounded_send(Ok(event)));
        let watch = Watch::new(options.detailed, show);
        match outermost(&runnable, input, options, &watch).await {
            Ok(result) => {
                let (watch, steps) = (watch.enter(runnable.name()), result.steps);
                watch.emit(steps, || EventKind::Finished { result: Box::new(result) });
            }
            Err(error) => drop(sender.unbounded_send(Err(error))),
        }
    };
    // The work sends its own end, so that no event is overtaken by it.
    stream::select(events, work.into_stream().filter_map(|()| ready(None))).boxed()
}

async fn outermost<R: Runnable + ?Sized>(
    runnable: &R,
    input: Input,
    options: RunOptions,
    watch: &Watch,
) -> Result<RunResult, RunError> {
    let shared = options.context.clone().or_else(|| runnable.context());
    let context = shared.as_ref().map(Context::fork).unwrap_or_default();
    let cx = RunCx::new(watch.clone(), context);
    let result = runnable.run_in(input, options, cx.clone()).await?;
    if shared.is_some() {
        cx.enter(runnable.name(), &RunOptions::default()).merge_context();
    }
    Ok(result)
}
