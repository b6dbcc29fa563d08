//! People and services with tokens, as the gateway and the services themselves would make them.

use std::{collections::BTreeMap, sync::Arc};

use servicekit::{Claims, Minter, PublicKey, SigningKey, Verifier, scope, token};
use shared_models::{Role, RunId, Service, TeamId, TenantId, UserId};

/// The keys of all services.
#[derive(Clone, Debug)]
pub struct Trust {
    keys: Arc<BTreeMap<Service, SigningKey>>,
}

impl Default for Trust {
    fn default() -> Self {
        Self::new()
    }
}

impl Trust {
    /// Keys that are the same in every test.
    pub fn new() -> Self {
        let key = |(n, &service): (usize, &Service)| {
            (service, SigningKey::from_seed(service, &[n as u8 + 1; 32]))
        };
        Self { keys: Arc::new(Service::ALL.iter().enumerate().map(key).collect()) }
    }

    /// A service's key.
    pub fn key(&self, service: Service) -> &SigningKey {
        &self.keys[&service]
    }

    /// The seed of a service's key, as its configuration has it.
    pub fn seed(service: Service) -> String {
        use base64::Engine as _;
        let n = Service::ALL.iter().position(|&one| one == service).expect("a service") as u8;
        base64::engine::general_purpose::STANDARD.encode([n + 1; 32])
    }

    /// All public keys.
    pub fn public(&self) -> Vec<PublicKey> {
        self.keys.values().map(|key| key.public().clone()).collect()
    }

    /// What a service checks tokens with.
    pub fn verifier(&self, me: Service) -> Verifier {
        Verifier::from_keys(me, self.public())
    }

    /// What a service makes its own tokens with.
    pub fn minter(&self, service: Service) -> Minter {
        Minter::new(self.key(service).clone())
    }

    /// The owner of a new tenant.
    pub fn owner(&self) -> Person {
        Person {
            trust: self.clone(),
            tenant: TenantId::mint(),
            user: UserId::mint(),
            teams: vec![TeamId::mint()],
            role: Role::Owner,
            payloads: true,
            scopes: None,
            platform: false,
        }
    }

    /// A token by which one service asks another.
    pub fn service_token(
        &self,
        from: Service,
        to: Service,
        tenant: TenantId,
        purpose: &str,
        run: Option<RunId>,
    ) -> String {
        self.minter(from).service_token(to, tenant, purpose, run)
    }
}

/// Somebody with a role in a tenant.
#[derive(Clone, Debug)]
pub struct Person {
    trust: Trust,
    /// Their tenant.
    pub tenant: TenantId,
    /// Who they are.
    pub user: UserId,
    /// Their teams.
    pub teams: Vec<TeamId>,
    /// Their role.
    pub role: Role,
    /// Whether they may see content.
    pub payloads: bool,
    scopes: Option<Vec<String>>,
    platform: bool,
}

impl Person {
    /// Another person of the same tenant, in a team of their own.
    #[must_use]
    pub fn colleague(&self, role: Role) -> Self {
        Self {
            user: UserId::mint(),
            teams: vec![TeamId::mint()],
            role,
            scopes: None,
            ..self.clone()
        }
    }

    /// Another person of the same team.
    #[must_use]
    pub fn teammate(&self, role: Role) -> Self {
        Self { teams: self.teams.clone(), ..self.colleague(role) }
    }

    /// The same person with only these scopes.
    #[must_use]
    pub fn with_scopes(&self, scopes: &[&str]) -> Self {
        Self {
            scopes: Some(scopes.iter().map(|&scope| scope.to_owned()).collect()),
            ..self.clone()
        }
    }

    /// The same person with the platform administrator's scope added.
    #[must_use]
    pub fn platform_admin(&self) -> Self {
        Self { platform: true, ..self.clone() }
    }

    /// The same person, who may see that something happened but not what.
    #[must_use]
    pub fn without_payloads(&self) -> Self {
        Self { payloads: false, ..self.clone() }
    }

    /// Their token for a service.
    pub fn token(&self, aud: Service) -> String {
        self.trust.key(Service::Gateway).sign(&self.claims(aud))
    }

    /// A token of theirs that ended an hour ago.
    pub fn expired_token(&self, aud: Service) -> String {
        let claims = self.claims(aud);
        let past = Claims { iat: claims.iat - 3660, exp: claims.exp - 3660, ..claims };
        self.trust.key(Service::Gateway).sign(&past)
    }

    /// Their claims, signed by a service that may not speak for people.
    pub fn forged_token(&self, aud: Service) -> String {
        let forger = if aud == Service::Engine { Service::Eventsvc } else { Service::Engine };
        self.trust.key(forger).sign(&self.claims(aud))
    }

    fn claims(&self, aud: Service) -> Claims {
        let now = token::unix_now();
        let of_role = || scope::of_role(self.role).into_iter().map(str::to_owned).collect();
        let mut scopes: Vec<String> = self.scopes.clone().unwrap_or_else(of_role);
        if self.platform {
            scopes.push("platform:admin".into());
        }
        Claims {
            iss: Service::Gateway,
            aud,
            sub: self.user.to_string(),
            exp: now + token::LIFETIME,
            iat: now,
            tenant: self.tenant,
            user: Some(self.user),
            key: None,
            teams: self.teams.clone(),
            role: Some(self.role),
            scopes,
            payloads: self.payloads,
            svc: None,
            purpose: None,
            run: None,
        }
    }
}
