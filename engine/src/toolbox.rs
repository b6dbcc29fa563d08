//! Calls a tool of a run's snapshot, and says what became of the call.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;
use shared_models::{AgentId, CredentialId, RunId, TenantId, ToolKind, UserId, WaitReason};

use crate::{
    app::App,
    budgets::RunCap,
    clients::credsvc::{Needed, Wants},
    error::Error,
    snapshot::SnapshotTool,
    tools,
};

/// On whose behalf a tool is called.
#[derive(Clone, Debug)]
pub(crate) struct CallCx {
    pub(crate) tenant: TenantId,
    pub(crate) run: RunId,
    /// Which call of the run; see [`crate::call_key`].
    pub(crate) call_id: String,
    /// The agent's owner, in whose name credentials were granted.
    pub(crate) owner: UserId,
    pub(crate) agent_id: AgentId,
    /// The same for every attempt at this call, and for no other call.
    pub(crate) idempotency_key: String,
    /// The budgets that a run which works for the call draws on as well.
    pub(crate) caps: Vec<RunCap>,
}

/// The run is no longer ours: whoever owns it now decides about the call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NotNow;

/// What became of a call, in words for the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It worked; this is the answer.
    Done(String),
    /// Nothing was sent.
    Refused(String),
    /// The other side answered that it did not work.
    Failed(String),
    /// It may have happened.
    Unknown(String),
    /// It goes on without us: its answer comes as a signal.
    Waits(Waiting),
    /// Nothing was sent, and it is made when this credential is connected again.
    Needs(Needed),
}

/// Why a call was not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unready {
    /// The model is told.
    Refused(String),
    /// The run waits.
    Needs(Needed),
}

impl From<Unready> for Outcome {
    fn from(why: Unready) -> Self {
        match why {
            Unready::Refused(why) => Self::Refused(why),
            Unready::Needs(needed) => Self::Needs(needed),
        }
    }
}

impl From<String> for Unready {
    fn from(why: String) -> Self {
        Self::Refused(why)
    }
}

impl From<&str> for Unready {
    fn from(why: &str) -> Self {
        Self::Refused(why.to_owned())
    }
}

/// Why there is no secret.
impl From<Error> for Unready {
    fn from(error: Error) -> Self {
        match error {
            Error::NeedsReconnect(needed) => Self::Needs(needed),
            error => Self::Refused(error.to_string()),
        }
    }
}

/// Whose answer a call waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// A person's.
    Input {
        question: String,
        /// JSON Schema of the answer.
        answer: Option<Value>,
    },
    /// Another run's.
    Child(RunId),
    /// The other side's, which has taken the call and brings the answer later.
    Callback,
    /// Nobody's: it is over at a moment, which is so far away.
    Timer { until: DateTime<Utc>, left: Duration },
}

impl Waiting {
    /// What the run waits for meanwhile.
    pub(crate) fn reason(&self) -> WaitReason {
        match self {
            Self::Input { .. } => WaitReason::Input,
            Self::Child(_) => WaitReason::Child,
            Self::Callback => WaitReason::Callback,
            Self::Timer { .. } => WaitReason::Timer,
        }
    }
}

impl CallCx {
    /// What is needed to be given a credential.
    pub(crate) fn wants(&self, credential: CredentialId) -> Wants {
        Wants {
            tenant: self.tenant,
            run: self.run,
            agent: self.agent_id,
            owner: self.owner,
            credential,
        }
    }
}

/// Calls the tool, within its timeout. `sent` is asked right before anything leaves; once it has agreed, only an answer
/// tells what happened.
pub(crate) async fn call(
    app: &App,
    cx: &CallCx,
    tool: &SnapshotTool,
    arguments: Value,
    sent: impl AsyncFnOnce() -> Result<(), NotNow>,
) -> Outcome {
    tracing::debug!(tool = tool.name, call = cx.call_id, "calling a tool");
    match tool.kind {
        ToolKind::Http => tools::http::call(app, cx, tool, arguments, sent).await,
        ToolKind::Builtin => Box::pin(tools::builtin::call(app, cx, tool, arguments, sent)).await,
        ToolKind::Mcp => Box::pin(tools::mcp::call(app, cx, tool, arguments, sent)).await,
        ToolKind::Agent => Box::pin(tools::agent::call(app, cx, tool, &arguments)).await,
    }
}
