//! `POST /v1/members`

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use dbutil::TenantTx;
use serde::{Deserialize, Serialize};
use serde_json::json;
use servicekit::{Body, Caller, Created, Once, Problem, scope::MembersWrite};
use shared_models::{ProblemBody, Role, TeamId};

use super::{Changer, all_right, check_may_change, email, found, name, name_of_email};
use crate::{
    App, Error,
    origin::Origin,
    store::{self, membership::Member},
};

/// Somebody to be a member.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewMember {
    /// Whoever has this address on the platform, else a new person.
    email: String,
    /// A new person's name; taken from the address when absent.
    #[serde(default)]
    name: Option<String>,
    role: Role,
    /// Whether they see content, or only that there is some; true when absent.
    #[serde(default = "yes")]
    #[schema(required = false)]
    can_view_payloads: bool,
    /// Teams besides the default one.
    #[serde(default)]
    #[schema(required = false)]
    team_ids: Vec<TeamId>,
}

/// Add a member by e-mail address.
#[utoipa::path(post, path = "/v1/members", tag = "identity", request_body = NewMember,
    params(("Idempotency-Key" = Option<String>, Header)), security(("token" = ["members:write"])),
    responses((status = 201, body = Member), (status = "default", body = ProblemBody)))]
pub(crate) async fn add_member(
    State(app): State<App>,
    caller: Caller<MembersWrite>,
    origin: Origin,
    mut once: Once,
    Body(mut new): Body<NewMember>,
) -> Result<Response, Problem> {
    new.check()?;
    check_may_change(&caller, Role::Viewer, new.role)?;

    let mut tx = app.db.begin(caller.tenant).await?;
    if let Some(answer) = once.begin(&mut tx, &caller, &new).await? {
        return Ok(answer);
    }
    let member = new.insert(&mut tx).await?;
    let detail = json!({ "role": member.role, "can_view_payloads": member.can_view_payloads });
    let changer = Changer::new(&caller, origin);
    store::audit::append(
        &mut tx,
        caller.tenant,
        changer.by(),
        "member.added",
        member.user_id,
        &detail,
    )
    .await?;
    once.remember(&mut tx, StatusCode::CREATED, &member).await?;
    tx.commit().await?;
    Ok(Created(member).into_response())
}

impl NewMember {
    fn check(&mut self) -> Result<(), Error> {
        let mut errors = Vec::new();
        self.email = email("/email", &self.email, &mut errors);
        self.name = self.name.as_deref().map(|text| name("/name", text, &mut errors));
        if self.team_ids.len() > 100 {
            errors.push(servicekit::FieldError::new("/team_ids", "at most 100"));
        }
        all_right(errors)
    }

    async fn insert(&self, tx: &mut TenantTx) -> Result<Member, Error> {
        let tenant = tx.tenant();
        let called = self.name.clone().unwrap_or_else(|| name_of_email(&self.email));
        let user = store::user::find_or_insert(tx, &self.email, &called).await?;
        store::membership::insert(tx, tenant, user, self.role, self.can_view_payloads).await?;
        let default_team = store::team::find_default(tx).await?;
        for team in std::iter::once(&default_team).chain(&self.team_ids) {
            match store::team_member::insert(tx, tenant, *team, user).await {
                Err(Error::NoTeam(team)) => {
                    return Err(Error::field("/team_ids", format!("there is no team {team}")));
                }
                other => other?,
            }
        }
        found(store::membership::find(tx, user).await?, user)
    }
}

fn yes() -> bool {
    true
}
