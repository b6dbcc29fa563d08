//! The switch that pauses everything of one system, whatever the triggers say themselves.

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use servicekit::{Body, Caller, FieldError, Problem, scope};
use shared_models::{ProblemBody, wire_time};
use utoipa::ToSchema;

use crate::{app::App, store::system_pause, trigger::System};

const LONGEST_REASON: usize = 500;

/// A kind of source.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct SystemState {
    /// Which.
    system: System,
    /// Whether its triggers hold their deliveries back.
    paused: bool,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    /// Who paused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    paused_by: Option<String>,
    /// Since when.
    #[serde(serialize_with = "wire_time::maybe")]
    paused_at: Option<DateTime<Utc>>,
}

/// Every system, and whether it is paused.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Systems {
    /// In the order of their names.
    items: Vec<SystemState>,
}

/// Which system, and whether it is paused.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Switch {
    /// Which.
    system: System,
    /// `true`: all of its triggers hold their deliveries back, listeners look no more, and timers wait. `false`: what was
    /// held back is released, and what the triggers say themselves holds again.
    paused: bool,
    /// For those who wonder, up to 500 characters.
    #[serde(default)]
    why: Option<String>,
}

/// List systems.
///
/// What triggers can listen to, and which of it the tenant has paused as a whole.
#[utoipa::path(get, path = "/v1/triggers/systems", tag = "triggers", security(("token" = ["triggers:read"])),
    responses((status = 200, body = Systems), (status = "default", body = ProblemBody)))]
pub(crate) async fn list_systems(
    State(app): State<App>,
    caller: Caller<scope::TriggersRead>,
) -> Result<Json<Systems>, Problem> {
    let mut tx = app.db.begin(caller.tenant).await?;
    Ok(Json(systems(&system_pause::list(&mut tx).await?)))
}

/// Pause or resume a system as a whole.
#[utoipa::path(put, path = "/v1/triggers/systems", tag = "triggers", security(("token" = ["settings:write"])),
    request_body = Switch, responses((status = 200, body = Systems), (status = "default", body = ProblemBody)))]
pub(crate) async fn switch_system(
    State(app): State<App>,
    caller: Caller<scope::SettingsWrite>,
    Body(switch): Body<Switch>,
) -> Result<Json<Systems>, Problem> {
    let why = switch.why.as_deref();
    if why.is_some_and(|why| why.chars().count() > LONGEST_REASON || why.contains('\0')) {
        let error = FieldError::new("/why", "must have up to 500 characters and no NUL");
        return Err(Problem::validation(vec![error]));
    }
    let system = switch.system.as_str();
    let mut tx = app.db.begin(caller.tenant).await?;
    if switch.paused {
        system_pause::insert(&mut tx, system, why, &caller.principal()).await?;
    } else {
        system_pause::delete(&mut tx, system).await?;
    }
    let pauses = system_pause::list(&mut tx).await?;
    tx.commit().await?;
    app.hooks.forget();
    if !switch.paused {
        app.bell.notify_one();
        app.timers.notify_one();
        app.flow.queued();
    }
    Ok(Json(systems(&pauses)))
}

fn systems(pauses: &[system_pause::Pause]) -> Systems {
    let state = |system: &System| {
        let pause = pauses.iter().find(|pause| pause.system == system.as_str());
        SystemState {
            system: *system,
            paused: pause.is_some(),
            why: pause.and_then(|pause| pause.why.clone()),
            paused_by: pause.map(|pause| pause.paused_by.clone()),
            paused_at: pause.map(|pause| pause.paused_at),
        }
    };
    let mut items: Vec<SystemState> = System::ALL.iter().map(state).collect();
    items.sort_by_key(|state| state.system.as_str());
    Systems { items }
}
