//! `POST /internal/credentials/{credential_id}/resolve`

use axum::{Json, extract::State};
use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use servicekit::{Body, Caller, Path, Problem, scope::CredentialsResolve};
use shared_models::{CredentialId, ProblemBody, UserId};

use super::{all_right, check_note};
use crate::{
    App,
    fields::Fields,
    grantee::Grantee,
    origin::Origin,
    resolve::{self, Ask},
};

/// What the secret is for.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResolveCredential {
    grantee: Grantee,
    /// The agent's or trigger's owner.
    owner: UserId,
    /// Why, for the audit.
    purpose: String,
    /// Where the secret will be sent; must be said of one that is bound to hosts.
    #[serde(default)]
    host: Option<String>,
}

/// A secret in plaintext.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct ResolvedCredential {
    credential_id: CredentialId,
    version: i32,
    #[serde(rename = "type")]
    kind: String,
    credentials: Fields,
    /// How long it may be kept in memory: never beyond its own end.
    ttl_seconds: u32,
}

/// Get a secret for an agent or trigger.
///
/// For services, inside a grant; the engine's token must name the run. Takes no `Idempotency-Key`: the answer is a
/// secret and is not kept.
#[utoipa::path(post, path = "/internal/credentials/{credential_id}/resolve", tag = "internal",
    params(("credential_id" = CredentialId, Path)), request_body = ResolveCredential,
    security(("token" = ["credentials:resolve"])),
    responses((status = 200, body = ResolvedCredential), (status = "default", body = ProblemBody)))]
pub(crate) async fn resolve_credential(
    State(app): State<App>,
    caller: Caller<CredentialsResolve>,
    origin: Origin,
    Path(id): Path<CredentialId>,
    Body(asked): Body<ResolveCredential>,
) -> Result<Json<ResolvedCredential>, Problem> {
    let mut errors = Vec::new();
    check_note("/purpose", &asked.purpose, &mut errors);
    if let Some(host) = &asked.host {
        check_note("/host", host, &mut errors);
    }
    all_right(errors)?;
    let ask = Ask {
        credential: id,
        grantee: asked.grantee,
        owner: Some(asked.owner),
        purpose: Some(asked.purpose),
        host: asked.host,
        run: None,
        spare: true,
    };
    let found = resolve::resolve(&app, &caller, &origin, ask).await?;
    Ok(Json(ResolvedCredential {
        credential_id: id,
        version: found.credential.version,
        kind: found.credential.kind,
        credentials: found.fields,
        ttl_seconds: lease(app.lease_seconds, found.lives),
    }))
}

fn lease(longest: u32, lives: Option<TimeDelta>) -> u32 {
    let lives = lives.map(|lives| u32::try_from(lives.num_seconds().max(0)).unwrap_or(u32::MAX));
    lives.map_or(longest, |lives| lives.min(longest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_ends_with_what_it_is_of() {
        assert_eq!(lease(60, None), 60);
        assert_eq!(lease(60, Some(TimeDelta::days(40_000))), 60);
        assert_eq!(lease(60, Some(TimeDelta::milliseconds(9_999))), 9);
        assert_eq!(lease(60, Some(TimeDelta::seconds(-1))), 0);
    }
}
