//! `GET /v1/usage`

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse as _, Response},
};
use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use servicekit::{Caller, FieldError, Params, scope::RunsRead};
use shared_models::{AgentId, MicroUsd, ProblemBody, Usage, UserId};

use super::usage_csv;
use crate::{
    app::App,
    error::Error,
    store::usage::{self, By, Of, Row},
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
    /// Only what this person has used: runs that they started or that act in their name, and models that they asked themselves.
    user_id: Option<UserId>,
    /// What to break it down by: any of `day`, `user`, `agent`, `model`, with commas between them; `day,agent,model` unless said.
    #[param(example = "day,user")]
    group_by: Option<String>,
    /// As `Accept` says unless said: `json`, or `csv` when you would rather have `text/csv`.
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

/// What was used on a day, by a person and an agent, of a model, as far as the summary is broken down.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct UsageLine {
    pub(super) day: Option<NaiveDate>,
    /// Who started the run, or else in whose name it acts, or who asked the model themselves. None of what was counted before
    /// that was noted.
    pub(super) user_id: Option<UserId>,
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

/// What the agents that you may see have used, what you have used yourself of whatever agent or model, and what it cost.
/// Administrators see everything that the tenant has used.
///
/// At most 10,000 lines. With `format=csv` or `Accept: text/csv` it is a table without the sum, for spreadsheets.
#[utoipa::path(get, path = "/v1/usage", tag = "models", params(SummariseUsage),
    security(("token" = ["runs:read"])),
    responses((status = 200, content((UsageSummary = "application/json"), (String = "text/csv"))), (status = "default", body = ProblemBody)))]
pub(crate) async fn summarise_usage(
    State(app): State<App>,
    caller: Caller<RunsRead>,
    headers: HeaderMap,
    Params(asked): Params<SummariseUsage>,
) -> Result<Response, Error> {
    let by = by(asked.group_by.as_deref().unwrap_or("day,agent,model"))?;
    let SummariseUsage { since, until, user_id, agent_id, .. } = asked;
    let of = Of { since, until, user: user_id, agent: agent_id };
    let mut tx = app.db.begin(caller.tenant).await?;
    let rows = usage::summary(&mut tx, &Viewer::of(&caller), of, by).await?;
    let mut total = UsageTotal::default();
    let items = rows.into_iter().map(|row| {
        let line = UsageTotal::from(&row);
        total.add(&line);
        let Row { day, user_id, agent_id, agent_name, model, .. } = row;
        UsageLine { day, user_id, agent_id, agent_name, model, total: line }
    });
    let items: Vec<UsageLine> = items.collect();
    let vary = (header::VARY, "accept");
    if asked.format.unwrap_or_else(|| accepted(&headers)) == Format::Csv {
        let kind = (header::CONTENT_TYPE, "text/csv; charset=utf-8; header=present");
        let name = (header::CONTENT_DISPOSITION, "attachment; filename=\"usage.csv\"");
        return Ok(([vary, kind, name], usage_csv::table(&items)).into_response());
    }
    Ok(([vary], Json(UsageSummary { items, total })).into_response())
}

/// What the caller would rather have, by `Accept`; JSON when that makes no difference.
fn accepted(headers: &HeaderMap) -> Format {
    let all = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let (mut json, mut csv, mut text) = (0.0, None, 0.0);
    for range in all.flat_map(|value| value.split(',')) {
        let (kind, more) = range.split_once(';').unwrap_or((range, ""));
        let weight = more.split(';').find_map(|one| one.trim().strip_prefix("q="));
        let weight: f32 = weight.map_or(1.0, |weight| weight.parse().unwrap_or(0.0));
        match kind.trim() {
            "text/csv" => csv = Some(weight.max(csv.unwrap_or(0.0))),
            "text/*" => text = weight.max(text),
            "application/json" | "application/*" | "*/*" => json = weight.max(json),
            _ => {}
        }
    }
    // What is said of CSV itself counts more than what is said of all texts.
    if csv.unwrap_or(text) > json { Format::Csv } else { Format::Json }
}

fn by(asked: &str) -> Result<By, Error> {
    let mut by = By::default();
    for word in asked.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        match word {
            "day" => by.day = true,
            "user" => by.user = true,
            "agent" => by.agent = true,
            "model" => by.model = true,
            _ => {
                let why = "any of `day`, `user`, `agent`, `model`, with commas between them";
                return Err(Error::Invalid(vec![FieldError::new("group_by", why)]));
            }
        }
    }
    Ok(by)
}
