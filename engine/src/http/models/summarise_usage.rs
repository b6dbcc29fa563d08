//! `GET /v1/usage`

use axum::{
    Json,
    extract::State,
    http::header,
    response::{IntoResponse as _, Response},
};
use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use servicekit::{Caller, FieldError, Params, scope::RunsRead};
use shared_models::{AgentId, MicroUsd, ProblemBody, Usage};

use super::usage_csv;
use crate::{
    app::App,
    error::Error,
    store::usage::{self, By, Row},
    visibility::Viewer,
};

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct SummariseUsage {
    /// The first day (UTC).
    since: Option<NaiveDate>,
    /// The last day.
    until: Option<NaiveDate>,
    agent_id: Option<AgentId>,
    /// What to break it down by: any of `day`, `agent`, `model`, with commas between them; all three unless said.
    #[param(example = "day,model")]
    group_by: Option<String>,
    /// `json` unless said.
    #[param(inline)]
    format: Option<Format>,
}

/// How the answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Format {
    Json,
    Csv,
}

/// What was used.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct UsageSummary {
    /// Newest day first.
    items: Vec<UsageLine>,
    total: UsageTotal,
}

/// What was used on a day, by an agent, of a model, as far as the summary is broken down.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct UsageLine {
    pub(super) day: Option<NaiveDate>,
    /// None for calls that no agent made.
    pub(super) agent_id: Option<AgentId>,
    pub(super) agent_name: Option<String>,
    pub(super) model: Option<String>,
    #[serde(flatten)]
    pub(super) total: UsageTotal,
}

/// A sum.
#[derive(Clone, Copy, Debug, Default, Serialize, utoipa::ToSchema)]
pub(crate) struct UsageTotal {
    /// Calls of models.
    pub(super) calls: i64,
    /// Those whose cost is not known: no price, or given up before the provider said what they took.
    pub(super) unpriced_calls: i64,
    pub(super) usage: Usage,
    /// What the others cost.
    pub(super) cost_micro_usd: MicroUsd,
}

impl From<&Row> for UsageTotal {
    fn from(row: &Row) -> Self {
        let tokens = |n: i64| u64::try_from(n).unwrap_or(0);
        Self {
            calls: row.calls,
            unpriced_calls: row.unpriced_calls,
            usage: Usage {
                input_tokens: tokens(row.input_tokens),
                cache_read_tokens: tokens(row.cache_read_tokens),
                cache_write_tokens: tokens(row.cache_write_tokens),
                output_tokens: tokens(row.output_tokens),
                reasoning_tokens: tokens(row.reasoning_tokens),
            },
            cost_micro_usd: MicroUsd(row.cost_micro_usd),
        }
    }
}

impl UsageTotal {
    fn add(&mut self, more: &Self) {
        self.calls += more.calls;
        self.unpriced_calls += more.unpriced_calls;
        self.usage += more.usage;
        self.cost_micro_usd += more.cost_micro_usd;
    }
}

/// What the agents that you may see have used, and what it cost. Administrators also see calls that no agent made, and so
/// everything that the tenant has used.
///
/// At most 10,000 lines. With `format=csv` it is a table without the sum, for spreadsheets.
#[utoipa::path(get, path = "/v1/usage", tag = "models", params(SummariseUsage),
    security(("token" = ["runs:read"])),
    responses((status = 200, content((UsageSummary = "application/json"), (String = "text/csv"))), (status = "default", body = ProblemBody)))]
pub(crate) async fn summarise_usage(
    State(app): State<App>,
    caller: Caller<RunsRead>,
    Params(asked): Params<SummariseUsage>,
) -> Result<Response, Error> {
    let by = by(asked.group_by.as_deref().unwrap_or("day,agent,model"))?;
    let mut tx = app.db.begin(caller.tenant).await?;
    let (viewer, days) = (Viewer::of(&caller), (asked.since, asked.until));
    let rows = usage::summary(&mut tx, &viewer, days, asked.agent_id, by).await?;
    let mut total = UsageTotal::default();
    let items = rows.into_iter().map(|row| {
        let line = UsageTotal::from(&row);
        total.add(&line);
        let Row { day, agent_id, agent_name, model, .. } = row;
        UsageLine { day, agent_id, agent_name, model, total: line }
    });
    let items: Vec<UsageLine> = items.collect();
    if asked.format == Some(Format::Csv) {
        let kind = (header::CONTENT_TYPE, "text/csv; charset=utf-8; header=present");
        let name = (header::CONTENT_DISPOSITION, "attachment; filename=\"usage.csv\"");
        return Ok(([kind, name], usage_csv::table(&items)).into_response());
    }
    Ok(Json(UsageSummary { items, total }).into_response())
}

fn by(asked: &str) -> Result<By, Error> {
    let mut by = By::default();
    for word in asked.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        match word {
            "day" => by.day = true,
            "agent" => by.agent = true,
            "model" => by.model = true,
            _ => {
                let why = "any of `day`, `agent`, `model`, with commas between them";
                return Err(Error::Invalid(vec![FieldError::new("group_by", why)]));
            }
        }
    }
    Ok(by)
}
