//! The words all services share: ids, domain types, messages, events and the wire form of errors.
//!
//! Plain serde, no I/O. Everything here appears in public JSON or in an event, so a change must stay readable by what
//! is already stored: new fields get defaults, anything else is a new version.

pub mod agent;
pub mod budget;
pub mod effect;
pub mod evaluation;
pub mod events;
pub mod flow;
pub mod ids;
pub mod message;
pub mod model;
pub mod money;
pub mod problem;
pub mod role;
pub mod run;
pub mod service;
pub mod text_enum;
pub mod usage;
pub mod wire_time;

pub use agent::{AgentScope, AgentStatus, AgentType, ToolKind, VersionChange};
pub use budget::{BudgetLevel, BudgetPeriod, BudgetQuantity};
pub use effect::{Effect, EffectState};
pub use evaluation::{CaseState, EvaluationMode, EvaluationStatus};
pub use flow::{Flow, FlowError, FlowErrorKind, SwarmMode};
pub use ids::*;
pub use model::{ModelApi, ModelKind, ModelTask};
pub use money::MicroUsd;
pub use problem::{FieldError, ProblemBody};
pub use role::Role;
pub use run::{HookPoint, RunMode, RunOrigin, RunStatus, WaitReason, WhenBusy};
pub use service::Service;
pub use usage::Usage;
