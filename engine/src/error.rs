//! What can go wrong here, and how it is answered.

use servicekit::{FieldError, PeerError, Problem, codes as shared};
use shared_models::{
    AgentId, ApprovalId, BudgetId, CaseId, ConversationId, CredentialId, EvaluationId, McpServerId,
    MessageId, ModelId, PriceId, RunId, SwarmId, ToolId, WebhookEndpointId,
};

use crate::clients::credsvc::Needed;
use crate::codes;
use crate::committer::AppendError;
use crate::creator::CreateError;
use crate::reader::ReadError;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("there is no agent {0}")]
    AgentNotFound(AgentId),
    #[error("there is no agent named `{0}`")]
    AgentNameNotFound(String),
    #[error("the agent has no version {0}")]
    VersionNotFound(i32),
    #[error("an agent named `{0}` already exists")]
    AgentNameTaken(String),
    #[error("the agent is {0}: it starts no runs")]
    AgentNotActive(String),
    #[error("there is no swarm {0}")]
    SwarmNotFound(SwarmId),
    #[error("there is no swarm named `{0}`")]
    SwarmNameNotFound(String),
    #[error("the swarm has no version {0}")]
    SwarmVersionNotFound(i32),
    #[error("a swarm named `{0}` already exists")]
    SwarmNameTaken(String),
    #[error("the swarm is {0}: it starts no runs")]
    SwarmNotActive(String),
    #[error("the swarm cannot run: {0}")]
    SwarmNotRunnable(String),
    #[error("the swarm would stand above itself")]
    SwarmCycle,
    #[error("it is a member of the swarm `{0}`: take it out of there first")]
    SwarmInUse(String),
    #[error("nobody works at `{0}`")]
    MemberNotFound(String),
    #[error("there is no tool {0}")]
    ToolNotFound(ToolId),
    #[error("the tool belongs to an MCP server")]
    ToolManaged,
    #[error("there is no MCP server {0}")]
    ServerNotFound(McpServerId),
    #[error("an MCP server named `{0}` already exists")]
    ServerNameTaken(String),
    #[error("{0}")]
    ServerUnreachable(String),
    #[error("a tool named `{0}` already exists")]
    ToolNameTaken(String),
    #[error("the agent does not have the tool {0}")]
    ToolNotAssigned(ToolId),
    #[error("the agent has another tool named `{0}`")]
    DuplicateToolName(String),
    #[error("{0}")]
    NotOwner(String),
    #[error("the agent's grant of {0} is just being taken back")]
    GrantEnding(CredentialId),
    #[error("it has been changed in the meantime")]
    VersionChanged,
    #[error("fields were refused")]
    Invalid(Vec<FieldError>),
    #[error("{0}")]
    ModelUnavailable(String),
    #[error("there is no model {0}")]
    ModelNotFound(ModelId),
    #[error("there is no model `{0}`")]
    ModelNameNotFound(String),
    #[error("there is an entry for the model `{0}` already")]
    ModelTaken(String),
    #[error("there is no price {0}")]
    PriceNotFound(PriceId),
    #[error("`{0}` has a price from that moment on already")]
    PriceTaken(String),
    #[error("{0}")]
    CredentialRefused(String),
    #[error("{}", .0.reason)]
    NeedsReconnect(Needed),
    #[error("there is no webhook endpoint {0}")]
    WebhookEndpointNotFound(WebhookEndpointId),
    #[error("a tenant has {0} endpoints at most")]
    WebhookEndpointsFull(i64),
    #[error("the endpoint was to be told of no event {0}")]
    WebhookDeliveryNotFound(MessageId),
    #[error("the endpoint is disabled")]
    WebhookDisabled,
    #[error("there is no run {0}")]
    RunNotFound(RunId),
    #[error("what was said in the run {0} has been forgotten: it ended too long ago")]
    RunPruned(RunId),
    #[error("the run has not ended")]
    RunNotEnded,
    #[error("the run is {0}")]
    RunNotRetryable(&'static str),
    #[error("the run cannot be forked: {0}")]
    RunNotForkable(&'static str),
    #[error("the journal of run {0} has more records than are read for this")]
    RunTooLong(RunId),
    #[error("the run is a swarm's")]
    RunNotKeepable,
    #[error("the agent has no case {0}")]
    CaseNotFound(CaseId),
    #[error("the agent has a case named `{0}` already")]
    CaseNameTaken(String),
    #[error("an agent has {0} cases at most")]
    CasesFull(i64),
    #[error("an agent's cases are 16 MiB together at most")]
    CasesTooLong,
    #[error("{0} evaluations are under way: wait until one has ended")]
    EvaluationsFull(i64),
    #[error("there is no evaluation {0}")]
    EvaluationNotFound(EvaluationId),
    #[error("the evaluation has ended")]
    EvaluationEnded,
    #[error("the run has ended")]
    RunEnded,
    #[error("the run is paused, or about to be")]
    RunPaused,
    #[error("the run is not paused")]
    RunNotPaused,
    #[error("there is no artifact `{0}`")]
    ArtifactNotFound(String),
    #[error("there is no conversation {0}")]
    ConversationNotFound(ConversationId),
    #[error("a run of the conversation is under way")]
    ConversationBusy,
    #[error("there is no budget {0}")]
    BudgetNotFound(BudgetId),
    #[error("there is a budget of this for this period already")]
    BudgetTaken,
    #[error("{why}")]
    BudgetExhausted {
        why: String,
        /// It is set aside for others, and some of that may come back in a moment.
        soon: bool,
    },
    #[error("{0}")]
    ModelUnpriced(String),
    #[error("the run has no budget of its own")]
    RunWithoutBudget,
    #[error("no call has this token")]
    CallbackNotFound,
    #[error("{0}")]
    CallbackClosed(&'static str),
    #[error("there is no approval {0}")]
    ApprovalNotFound(ApprovalId),
    #[error("it is {0} already")]
    ApprovalClosed(&'static str),
    #[error("what would be sent has been changed in the meantime: look at it again")]
    ApprovalChanged,
    #[error("you have voted for this call as it is")]
    ApprovalVoted,
    #[error("{0}")]
    NotAVoter(&'static str),
    #[error(
        "you may not see what the run says, and with something changed its calls could tell you; fork it as it is, or \
         with `unmatched` as `refuse`"
    )]
    NotYoursToRead,
    #[error("the run asks no such question")]
    QuestionNotFound,
    #[error("the question has been answered")]
    QuestionAnswered,
    #[error("the run has made no call `{0}`")]
    EffectNotFound(String),
    #[error("the tool declares no probe")]
    EffectHasNoProbe,
    #[error("the call `{0}` is not in doubt")]
    EffectNotInDoubt(String),
    #[error("answered elsewhere")]
    Problem(Problem),
    #[error(transparent)]
    Peer(#[from] PeerError),
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Create(#[from] CreateError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Db(#[from] sqlx::Error),
    #[error(transparent)]
    Internal(#[from] anyhow::Error),
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::AgentNotFound(_) | Error::AgentNameNotFound(_) => &codes::AGENT_NOT_FOUND,
            Error::VersionNotFound(_) => &codes::AGENT_VERSION_NOT_FOUND,
            Error::AgentNameTaken(_) => &codes::AGENT_NAME_TAKEN,
            Error::AgentNotActive(_) => &codes::AGENT_NOT_ACTIVE,
            Error::SwarmNotFound(_) | Error::SwarmNameNotFound(_) => &codes::SWARM_NOT_FOUND,
            Error::SwarmVersionNotFound(_) => &codes::SWARM_VERSION_NOT_FOUND,
            Error::SwarmNameTaken(_) => &codes::SWARM_NAME_TAKEN,
            Error::SwarmNotActive(_) => &codes::SWARM_NOT_ACTIVE,
            Error::SwarmNotRunnable(_) => &codes::SWARM_NOT_RUNNABLE,
            Error::SwarmCycle => &codes::SWARM_CYCLE,
            Error::SwarmInUse(_) => &codes::SWARM_IN_USE,
            Error::MemberNotFound(_) => &codes::MEMBER_NOT_FOUND,
            Error::ToolNotFound(_) => &codes::TOOL_NOT_FOUND,
            Error::ToolManaged => &codes::TOOL_MANAGED,
            Error::ServerNotFound(_) => &codes::MCP_SERVER_NOT_FOUND,
            Error::ServerNameTaken(_) => &codes::MCP_SERVER_NAME_TAKEN,
            Error::ServerUnreachable(_) => &codes::MCP_SERVER_UNREACHABLE,
            Error::BudgetNotFound(_) => &codes::BUDGET_NOT_FOUND,
            Error::BudgetTaken => &codes::BUDGET_TAKEN,
            Error::BudgetExhausted { soon: false, .. } => &codes::BUDGET_EXHAUSTED,
            Error::ModelUnpriced(_) => &codes::MODEL_UNPRICED,
            Error::RunWithoutBudget => &codes::RUN_WITHOUT_BUDGET,
            Error::CallbackNotFound => &codes::CALLBACK_NOT_FOUND,
            Error::CallbackClosed(_) => &codes::CALLBACK_CLOSED,
            Error::ApprovalNotFound(_) => &codes::APPROVAL_NOT_FOUND,
            Error::ApprovalClosed(_) => &codes::APPROVAL_CLOSED,
            Error::ApprovalChanged => &codes::APPROVAL_CHANGED,
            Error::ApprovalVoted => &codes::APPROVAL_VOTED,
            Error::NotAVoter(_) => &codes::NOT_A_VOTER,
            Error::NotYoursToRead => &codes::NOT_YOURS_TO_READ,
            Error::QuestionNotFound => &codes::QUESTION_NOT_FOUND,
            Error::QuestionAnswered => &codes::QUESTION_ANSWERED,
            Error::ToolNameTaken(_) => &codes::TOOL_NAME_TAKEN,
            Error::ToolNotAssigned(_) => &codes::TOOL_NOT_ASSIGNED,
            Error::DuplicateToolName(_) => &codes::DUPLICATE_TOOL_NAME,
            Error::NotOwner(_) => &codes::NOT_OWNER,
            Error::VersionChanged => &shared::PRECONDITION_FAILED,
            Error::ModelUnavailable(_) => &codes::MODEL_UNAVAILABLE,
            Error::ModelNotFound(_) | Error::ModelNameNotFound(_) => &codes::MODEL_NOT_FOUND,
            Error::ModelTaken(_) => &codes::MODEL_TAKEN,
            Error::PriceNotFound(_) => &codes::PRICE_NOT_FOUND,
            Error::PriceTaken(_) => &codes::PRICE_TAKEN,
            Error::CredentialRefused(_) | Error::NeedsReconnect(_) => &codes::CREDENTIAL_REFUSED,
            Error::WebhookEndpointNotFound(_) => &codes::WEBHOOK_ENDPOINT_NOT_FOUND,
            Error::WebhookEndpointsFull(_) => &codes::WEBHOOK_ENDPOINTS_FULL,
            Error::WebhookDeliveryNotFound(_) => &codes::WEBHOOK_DELIVERY_NOT_FOUND,
            Error::WebhookDisabled => &codes::WEBHOOK_DISABLED,
            Error::RunNotFound(_) => &codes::RUN_NOT_FOUND,
            Error::RunPruned(_) => &codes::RUN_PRUNED,
            Error::RunNotEnded => &codes::RUN_NOT_ENDED,
            Error::RunNotRetryable(_) => &codes::RUN_NOT_RETRYABLE,
            Error::RunNotForkable(_) => &codes::RUN_NOT_FORKABLE,
            Error::RunTooLong(_) => &codes::RUN_TOO_LONG,
            Error::RunNotKeepable => &codes::RUN_NOT_KEEPABLE,
            Error::CaseNotFound(_) => &codes::CASE_NOT_FOUND,
            Error::CaseNameTaken(_) => &codes::CASE_NAME_TAKEN,
            Error::CasesFull(_) => &codes::CASES_FULL,
            Error::CasesTooLong => &codes::CASES_TOO_LONG,
            Error::EvaluationsFull(_) => &codes::EVALUATIONS_FULL,
            Error::EvaluationNotFound(_) => &codes::EVALUATION_NOT_FOUND,
            Error::EvaluationEnded => &codes::EVALUATION_ENDED,
            Error::RunEnded => &codes::RUN_ENDED,
            Error::RunPaused => &codes::RUN_PAUSED,
            Error::RunNotPaused => &codes::RUN_NOT_PAUSED,
            Error::ArtifactNotFound(_) => &codes::ARTIFACT_NOT_FOUND,
            Error::ConversationNotFound(_) => &codes::CONVERSATION_NOT_FOUND,
            Error::ConversationBusy => &codes::CONVERSATION_BUSY,
            Error::EffectNotFound(_) => &codes::EFFECT_NOT_FOUND,
            Error::EffectHasNoProbe => &codes::EFFECT_HAS_NO_PROBE,
            Error::EffectNotInDoubt(_) => &codes::EFFECT_NOT_IN_DOUBT,
            Error::GrantEnding(_)
            | Error::BudgetExhausted { soon: true, .. }
            | Error::Invalid(_)
            | Error::Problem(_)
            | Error::Peer(_)
            | Error::Append(_)
            | Error::Create(_)
            | Error::Read(_)
            | Error::Db(_)
            | Error::Internal(_) => return with_a_cause(error),
        };
        Self::new(code, error.to_string())
    }
}

fn with_a_cause(error: Error) -> Problem {
    match error {
        Error::GrantEnding(_) => {
            Problem::new(&shared::UNAVAILABLE, error.to_string()).retry_after(1)
        }
        Error::BudgetExhausted { .. } => {
            Problem::new(&codes::BUDGET_EXHAUSTED, error.to_string()).retry_after(1)
        }
        Error::Invalid(errors) => Problem::validation(errors),
        Error::Problem(problem) => problem,
        Error::Peer(error) => error.into(),
        Error::Db(error) => error.into(),
        Error::Create(error @ (CreateError::Busy | CreateError::Unavailable(_))) => {
            Problem::new(&shared::UNAVAILABLE, error.to_string()).retry_after(1)
        }
        Error::Read(error) => Problem::new(&shared::UNAVAILABLE, error.to_string()).retry_after(1),
        error => Problem::internal(error),
    }
}

impl axum::response::IntoResponse for Error {
    fn into_response(self) -> axum::response::Response {
        Problem::from(self).into_response()
    }
}
