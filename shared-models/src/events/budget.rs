//! Budgets as they are used up.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Event, Stream};
use crate::{BudgetId, RunId};

macro_rules! budget_event {
    ($(#[$doc:meta])* $name:ident = $event:literal { $($(#[$fdoc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
        pub struct $name {
            /// Which budget.
            pub budget_id: BudgetId,
            /// `tenant`, `user`, `agent` or `run`.
            pub level: String,
            /// The tenant, user, agent or run.
            pub subject_id: Uuid,
            /// The run, when it is one's own budget.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub run_id: Option<RunId>,
            /// `day`, `month` or `total`.
            pub period: String,
            /// `cost_micro_usd`, `tokens`, `tool_calls` or `active_seconds`.
            pub quantity: String,
            /// How much may be used.
            pub cap: i64,
            /// How much has been.
            pub spent: i64,
            $($(#[$fdoc])* pub $field: $type,)*
        }

        impl Event for $name {
            const STREAM: Stream = Stream::Runs;
            const NAME: &'static str = $event;
        }
    };
}

budget_event! {
    /// A part of a budget is used up. Said once for each part and period.
    /// Sent by `engine`; heard by nobody but tenants' own endpoints.
    BudgetWarned = "budget.warned" {
        /// How much of the cap, in per cent: 50 or 80.
        percent: i16,
    }
}
budget_event! {
    /// A budget is used up, or too little is left for what a run wants to do next. Said once a period.
    /// Sent by `engine`; heard by nobody but tenants' own endpoints.
    BudgetExhausted = "budget.exhausted" {}
}
