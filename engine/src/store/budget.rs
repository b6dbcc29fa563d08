//! Budgets as people see them.

use chrono::{DateTime, Utc};
use dbutil::{Cursor, Db, Page, PageQuery, SystemTx};
use serde::Serialize;
use shared_models::{BudgetId, RunId, TenantId};
use sqlx::PgConnection;
use sqlx::types::{Json, Uuid};

use crate::budgets::{Account, Key, Level, Quantity};
use crate::error::Error;
use crate::visibility::Viewer;

/// One limit of a budget, as stored.
#[derive(Clone, Debug, serde::Deserialize)]
pub(crate) struct LineRow {
    pub(crate) quantity: Quantity,
    pub(crate) cap: i64,
    pub(crate) spent: i64,
    pub(crate) held: i64,
    pub(crate) overshoot: i64,
    /// What has been spent and not been added up.
    pub(crate) pending: i64,
}

/// A budget as stored.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) budget_id: BudgetId,
    pub(crate) level: String,
    pub(crate) subject: Uuid,
    /// For a run's: the member of a swarm whose it is; empty for the run's own.
    pub(crate) path: String,
    pub(crate) period: String,
    /// Of the present period; none when there is but one.
    pub(crate) period_start: Option<DateTime<Utc>>,
    pub(crate) period_end: Option<DateTime<Utc>>,
    /// What is stored of it was counted in an earlier one.
    pub(crate) stale: bool,
    pub(crate) version: i32,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) updated_at: DateTime<Utc>,
    pub(crate) lines: Json<Vec<LineRow>>,
}

/// Whose budgets: a tenant's, or the platform's.
pub(crate) type Owner = Option<TenantId>;

/// The lines that runs of a tenant may draw on, besides the runs' own.
pub(crate) async fn accounts(db: &Db, tenant: TenantId) -> Result<Vec<Account>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select b.budget_id as "budget: BudgetId", b.level, b.subject_id, l.quantity
           from engine.budget b join engine.budget_line l on l.budget_id = b.budget_id
           where (b.tenant_id = $1 or b.tenant_id is null) and b.level <> 'run'"#,
        tenant as _,
    )
    .fetch_all(db.system_pool())
    .await?;
    let account = rows.into_iter().filter_map(|row| {
        let (level, quantity) = (row.level.parse().ok()?, row.quantity.parse().ok()?);
        Some(Account { level, subject: row.subject_id, key: Key { budget: row.budget, quantity } })
    });
    Ok(account.collect())
}

/// A budget of a tenant, or of the platform.
pub(crate) async fn find(tx: &mut PgConnection, owner: Owner, id: BudgetId) -> Result<Row, Error> {
    let rows = select(tx, owner, &Wanted { id: Some(id), ..Wanted::default() }).await?;
    rows.into_iter().next().ok_or(Error::BudgetNotFound(id))
}

/// The same, if somebody may see it. A run's is seen with the run.
pub(crate) async fn find_visible(
    tx: &mut PgConnection,
    owner: Owner,
    viewer: &Viewer,
    id: BudgetId,
) -> Result<Row, Error> {
    let viewer = Some(viewer).filter(|viewer| !viewer.admin);
    let rows = select(tx, owner, &Wanted { id: Some(id), viewer, ..Wanted::default() }).await?;
    rows.into_iter().next().ok_or(Error::BudgetNotFound(id))
}

/// The budgets that somebody may see, newest first.
pub(crate) async fn list_page(
    tx: &mut PgConnection,
    owner: Owner,
    (viewer, level): (Option<&Viewer>, Option<Level>),
    page: &PageQuery,
) -> Result<Page<Row>, Error> {
    let after = page.after().map_err(servicekit::Problem::from)?;
    let wanted = Wanted {
        viewer: viewer.filter(|viewer| !viewer.admin),
        level,
        after: after.map(|cursor| (cursor.at, cursor.id)),
        most: Some(page.limit() + 1),
        ..Wanted::default()
    };
    let rows = select(tx, owner, &wanted).await?;
    let position = |row: &Row| Cursor { at: row.created_at, id: row.budget_id.uuid() };
    Ok(Page::new(rows, page.limit(), position))
}

/// The budget of a run itself, once it has been drawn on.
pub(crate) async fn of_run(
    tx: &mut PgConnection,
    tenant: TenantId,
    run: RunId,
) -> Result<Option<Row>, sqlx::Error> {
    let id = Some(crate::budgets::run_budget(run, ""));
    let rows = select(tx, Some(tenant), &Wanted { id, ..Wanted::default() }).await?;
    Ok(rows.into_iter().next())
}

#[derive(Default)]
struct Wanted<'a> {
    id: Option<BudgetId>,
    /// Somebody who does not see all.
    viewer: Option<&'a Viewer>,
    level: Option<Level>,
    after: Option<(DateTime<Utc>, Uuid)>,
    most: Option<i64>,
}

async fn select(
    tx: &mut PgConnection,
    owner: Owner,
    wanted: &Wanted<'_>,
) -> Result<Vec<Row>, sqlx::Error> {
    let teams = wanted.viewer.map(Viewer::team_ids).unwrap_or_default();
    sqlx::query_file_as!(
        Row,
        "src/store/budget_list.sql",
        owner as Option<TenantId>,
        wanted.id as Option<BudgetId>,
        wanted.viewer.map(Viewer::user_id),
        &teams,
        wanted.level.map(Level::as_str),
        wanted.after.map(|(at, _)| at),
        wanted.after.map(|(_, id)| id),
        wanted.most,
    )
    .fetch_all(&mut *tx)
    .await
}

/// What a run is short of.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct ShortOf {
    pub(crate) budget_id: BudgetId,
    /// `platform`, `tenant`, `user`, `agent` or `run`.
    pub(crate) level: String,
    /// For the level `run`: whose it is, this run or one that it works for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) run_id: Option<RunId>,
    /// The member of a swarm in that run whose it is; none when it is the run's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<String>,
    /// `cost_micro_usd`, `tokens`, `tool_calls` or `active_seconds`.
    pub(crate) quantity: &'static str,
    /// What it needs for its next step, at least.
    pub(crate) need: i64,
    /// What of that is missing.
    pub(crate) short: i64,
    #[serde(serialize_with = "shared_models::wire_time::time")]
    pub(crate) since_at: DateTime<Utc>,
}

/// What a run is short of now.
pub(crate) async fn short_of(
    tx: &mut SystemTx,
    tenant: TenantId,
    run: RunId,
) -> Result<Vec<ShortOf>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select w.budget_id as "budget_id: BudgetId", b.level, b.subject_id, b.path, w.quantity, w.need, w.since_at,
                  greatest(w.need - (l.cap - l.spent - l.held), 0) as "short!"
           from engine.budget_wait w
           join engine.budget b on b.budget_id = w.budget_id
           join engine.budget_line l on l.budget_id = w.budget_id and l.quantity = w.quantity
           where w.tenant_id = $1 and w.run_id = $2 order by b.level, w.quantity, w.budget_id"#,
        tenant as _,
        run as _,
    )
    .fetch_all(&mut **tx)
    .await?;
    let short = rows.into_iter().filter_map(|row| {
        let quantity: Quantity = row.quantity.parse().ok()?;
        let of_run = row.level == Level::Run.as_str();
        Some(ShortOf {
            budget_id: row.budget_id,
            run_id: of_run.then(|| row.subject_id.into()),
            path: Some(row.path).filter(|path| !path.is_empty()),
            level: row.level,
            quantity: quantity.wire(),
            need: quantity.shown(row.need),
            short: quantity.shown(row.short),
            since_at: row.since_at,
        })
    });
    Ok(short.collect())
}
