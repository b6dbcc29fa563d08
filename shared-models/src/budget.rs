//! What budgets are of.

crate::text_enum! {
    /// Whose budget it is.
    pub enum BudgetLevel {
        /// Of all tenants together.
        Platform = "platform",
        /// Of all runs of the tenant.
        Tenant = "tenant",
        /// Of the runs that somebody has started, or that act in their name.
        User = "user",
        /// Of all runs of an agent.
        Agent = "agent",
        /// Of one run and all that work for it.
        Run = "run",
    }
}

crate::text_enum! {
    /// When a budget begins anew.
    pub enum BudgetPeriod {
        /// At midnight (UTC).
        Day = "day",
        /// With the month (UTC).
        Month = "month",
        /// Never.
        Total = "total",
    }
}

crate::text_enum! {
    /// What a budget limits, as it is counted.
    pub enum BudgetQuantity {
        /// Millionths of a dollar.
        Cost = "cost",
        /// In and out.
        Tokens = "tokens",
        /// Calls that were begun.
        ToolCalls = "tool_calls",
        /// Milliseconds that models and tools were at work.
        ActiveMs = "active_ms",
    }
}

impl BudgetQuantity {
    /// As people name it.
    pub const fn wire(self) -> &'static str {
        match self {
            Self::Cost => "cost_micro_usd",
            Self::Tokens => "tokens",
            Self::ToolCalls => "tool_calls",
            Self::ActiveMs => "active_seconds",
        }
    }

    /// In the unit in which people count it, rounded up.
    pub const fn shown(self, amount: i64) -> i64 {
        match self {
            Self::ActiveMs => amount.saturating_add(999).div_euclid(1000),
            Self::Cost | Self::Tokens | Self::ToolCalls => amount,
        }
    }
}
