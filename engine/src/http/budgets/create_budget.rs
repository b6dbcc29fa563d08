use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, Serialize};
use servicekit::{Body, Caller, Created, FieldError, Once, scope::SettingsWrite};
use shared_models::{AgentId, ProblemBody, UserId};
use utoipa::ToSchema;
use uuid::Uuid;

use super::BudgetView;
use crate::app::App;
use crate::budgets::{Level, Period};
use crate::definition::Budget;
use crate::error::Error;
use crate::store;
use crate::store::budget;
use crate::store::budget_edit::{self, New};
use crate::visibility::Viewer;

/// A budget to set.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewBudget {
    /// `tenant`, `user` or `agent`.
    level: Level,
    /// For the level `user`: whose runs draw on it, those they start and those that act in their name, and the models that they
    /// ask themselves.
    #[serde(default)]
    user_id: Option<UserId>,
    /// For the level `agent`.
    #[serde(default)]
    agent_id: Option<AgentId>,
    /// When it begins anew.
    #[serde(default = "month")]
    period: Period,
    /// Millionths of a dollar.
    #[serde(default)]
    #[schema(minimum = 1)]
    max_cost_micro_usd: Option<i64>,
    /// In and out.
    #[serde(default)]
    #[schema(minimum = 1)]
    max_tokens: Option<i64>,
    #[serde(default)]
    #[schema(minimum = 1)]
    max_tool_calls: Option<i64>,
    /// Time that models and tools are at work.
    #[serde(default)]
    #[schema(minimum = 1)]
    max_active_seconds: Option<i64>,
}

fn month() -> Period {
    Period::Month
}

impl NewBudget {
    fn limits(&self) -> Budget {
        Budget {
            max_cost_micro_usd: self.max_cost_micro_usd,
            max_tokens: self.max_tokens,
            max_tool_calls: self.max_tool_calls,
            max_active_seconds: self.max_active_seconds,
        }
    }

    /// The user or agent it is of, or what is wrong with it.
    fn subject(&self, caller: &Caller<SettingsWrite>) -> Result<Uuid, Vec<FieldError>> {
        let mut errors = self.limits().check_limits("");
        let none = |wrong: bool, pointer: &str, level: &str| {
            let why = format!("only for the level `{level}`");
            wrong.then(|| FieldError::new(pointer, &why))
        };
        errors.extend(none(
            self.level != Level::User && self.user_id.is_some(),
            "/user_id",
            "user",
        ));
        let agent = self.level != Level::Agent && self.agent_id.is_some();
        errors.extend(none(agent, "/agent_id", "agent"));
        let needed = |pointer| FieldError::new(pointer, "needed for this level");
        let subject = match self.level {
            Level::Tenant => Ok(caller.tenant.uuid()),
            Level::User => self.user_id.map(UserId::uuid).ok_or_else(|| needed("/user_id")),
            Level::Agent => self.agent_id.map(AgentId::uuid).ok_or_else(|| needed("/agent_id")),
            Level::Platform | Level::Run => {
                Err(FieldError::new("/level", "`tenant`, `user` or `agent`"))
            }
        };
        match subject {
            Ok(subject) if errors.is_empty() => Ok(subject),
            Ok(_) => Err(errors),
            Err(error) => {
                errors.push(error);
                Err(errors)
            }
        }
    }
}

/// Set a budget: of the tenant, of a user's runs, or of an agent's. Every run draws on all that concern it, and on its own; one
/// that finds no room waits (`budget`). At 50 and 80 per cent, and at the end, `budget.warned` and `budget.exhausted` are told.
#[utoipa::path(post, path = "/v1/budgets", tag = "budgets", security(("token" = ["settings:write"])),
    request_body(content = NewBudget, example = json!({ "level": "tenant", "period": "month", "max_cost_micro_usd": 50_000_000 })),
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 201, body = BudgetView), (status = "default", body = ProblemBody)))]
pub(crate) async fn create_budget(
    State(app): State<App>,
    caller: Caller<SettingsWrite>,
    mut once: Once,
    Body(new): Body<NewBudget>,
) -> Result<Response, Error> {
    let by = caller.person()?;
    let subject = new.subject(&caller).map_err(Error::Invalid)?;
    if let Some(user) = new.user_id
        && app.gateway.member(caller.tenant, user).await?.is_none()
    {
        let why = "there is no such member";
        return Err(Error::Invalid(vec![FieldError::new("/user_id", why)]));
    }
    let mut tx = app.db.begin(caller.tenant).await?;
    if let Some(stored) = once.begin(&mut tx, &caller, &new).await? {
        return Ok(stored);
    }
    if let Some(agent) = new.agent_id {
        store::agent::find_visible(&mut tx, &Viewer::of(&caller), agent).await?;
    }
    let owner = Some(caller.tenant);
    let limits = new.limits();
    let new = New { level: new.level, subject, period: new.period, limits };
    let id = budget_edit::insert(&mut tx, owner, by, &new).await?;
    let view = BudgetView::from(budget::find(&mut tx, owner, id).await?);
    once.remember(&mut tx, StatusCode::CREATED, &view).await?;
    tx.commit().await?;
    app.budgets.forget(owner);
    Ok(Created(view).into_response())
}
