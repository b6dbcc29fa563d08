//! Who is calling, for which tenant, already checked to hold a scope.

use std::{marker::PhantomData, sync::Arc};

use axum::{
    extract::{FromRef, FromRequestParts},
    http::{HeaderMap, header, request::Parts},
};
use shared_models::{ApiKeyId, Role, RunId, Service, TeamId, TenantId, UserId};

use crate::{Problem, codes, scope::Scope, token::Claims, verifier::Verifier};

/// The header by which a service shows the token of the person it acts for.
pub const SUBJECT_TOKEN: &str = "x-subject-token";

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// A person, perhaps by an API key.
    User {
        /// Who.
        user: UserId,
        /// By which key.
        key: Option<ApiKeyId>,
    },
    /// Another service.
    Service {
        /// Which.
        service: Service,
        /// Why, in its own words.
        purpose: Option<String>,
        /// For which run.
        run: Option<RunId>,
    },
}

/// The person a service acts for: the token they gave it, verified by us as well.
#[derive(Clone, Debug)]
pub struct Subject {
    claims: Arc<Claims>,
    user: UserId,
}

impl Subject {
    /// The person.
    pub fn user(&self) -> UserId {
        self.user
    }

    /// Their role.
    pub fn role(&self) -> Option<Role> {
        self.claims.role
    }

    /// Their teams.
    pub fn teams(&self) -> &[TeamId] {
        &self.claims.teams
    }

    /// Whether they administer the tenant.
    pub fn is_admin(&self) -> bool {
        self.claims.role.is_some_and(|role| role >= Role::Admin)
    }

    /// Whether their token holds a scope.
    pub fn holds(&self, scope: &str) -> bool {
        self.claims.scopes.iter().any(|held| held == scope)
    }
}

/// The caller of a handler, known to hold scope `S`.
#[derive(Debug)]
pub struct Caller<S> {
    /// The tenant the call is about. Never taken from a path or body.
    pub tenant: TenantId,
    /// Who calls.
    pub actor: Actor,
    /// The person's role; none for services.
    pub role: Option<Role>,
    /// The person's teams.
    pub teams: Vec<TeamId>,
    /// Whether content may be shown.
    pub payloads: bool,
    subject: Option<Subject>,
    token: String,
    scope: PhantomData<fn() -> S>,
}

impl<S> Clone for Caller<S> {
    fn clone(&self) -> Self {
        Self {
            tenant: self.tenant,
            actor: self.actor.clone(),
            role: self.role,
            teams: self.teams.clone(),
            payloads: self.payloads,
            subject: self.subject.clone(),
            token: self.token.clone(),
            scope: PhantomData,
        }
    }
}

impl<S> Caller<S> {
    /// The person, unless a service calls.
    pub fn user(&self) -> Option<UserId> {
        match self.actor {
            Actor::User { user, .. } => Some(user),
            Actor::Service { .. } => None,
        }
    }

    /// The person, or 403: this is for people only.
    pub fn person(&self) -> Result<UserId, Problem> {
        self.user().ok_or_else(|| Problem::new(&codes::NOT_ALLOWED, "only a person may do this"))
    }

    /// Who calls, as one stable string: for audit rows and idempotency keys.
    pub fn principal(&self) -> String {
        match &self.actor {
            Actor::User { user, .. } => user.to_string(),
            Actor::Service { service, .. } => format!("svc:{service}"),
        }
    }

    /// Whether the caller is a person who administers the tenant.
    pub fn is_admin(&self) -> bool {
        self.role.is_some_and(|role| role >= Role::Admin)
    }

    /// Refuses everybody but administrators of the tenant.
    pub fn require_admin(&self) -> Result<(), Problem> {
        if self.is_admin() {
            Ok(())
        } else {
            Err(Problem::new(&codes::NOT_ALLOWED, "only administrators of the tenant may do this"))
        }
    }

    /// The person a calling service acts for.
    pub fn subject(&self) -> Option<&Subject> {
        self.subject.as_ref()
    }

    /// The raw token, to show to a third service as [`SUBJECT_TOKEN`].
    pub fn token(&self) -> &str {
        &self.token
    }
}

impl<S: Scope, App: Send + Sync> FromRequestParts<App> for Caller<S>
where
    Verifier: FromRef<App>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let verifier = Verifier::from_ref(app);
        let token = bearer(&parts.headers).ok_or_else(|| {
            Problem::new(&codes::UNAUTHENTICATED, "send `Authorization: Bearer …`")
        })?;
        let claims = verifier.verify(token).await?;
        if !claims.scopes.iter().any(|scope| scope == S::NAME) {
            return Err(Problem::new(
                &codes::SCOPE_MISSING,
                format!("this needs the scope `{}`", S::NAME),
            ));
        }
        let subject = subject(&verifier, &parts.headers, &claims).await?;
        let span = tracing::Span::current();
        span.record("tenant.id", tracing::field::display(claims.tenant));
        Ok(Self {
            tenant: claims.tenant,
            actor: actor(&claims)?,
            role: claims.role,
            teams: claims.teams.clone(),
            payloads: claims.payloads,
            subject,
            token: token.to_owned(),
            scope: PhantomData,
        })
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn actor(claims: &Claims) -> Result<Actor, Problem> {
    match (claims.svc, claims.user) {
        (Some(service), None) => {
            Ok(Actor::Service { service, purpose: claims.purpose.clone(), run: claims.run })
        }
        (None, Some(user)) => Ok(Actor::User { user, key: claims.key }),
        _ => Err(Problem::new(&codes::UNAUTHENTICATED, "the token names nobody")),
    }
}

/// Only a service may show somebody else's token, and only one that was given to that very service.
async fn subject(
    verifier: &Verifier,
    headers: &HeaderMap,
    claims: &Claims,
) -> Result<Option<Subject>, Problem> {
    let Some(shown) = headers.get(SUBJECT_TOKEN) else { return Ok(None) };
    let refused = || Problem::new(&codes::UNAUTHENTICATED, "the subject token is not acceptable");
    let service = claims.svc.ok_or_else(refused)?;
    let shown = shown.to_str().map_err(|_| refused())?;
    let person = verifier.verify_for(shown, service).await?;
    match person.user {
        Some(user) if person.tenant == claims.tenant => Ok(Some(Subject { claims: person, user })),
        _ => Err(refused()),
    }
}
