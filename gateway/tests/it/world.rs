//! A gateway with a tenant, and stand-ins for the services behind it.

use std::{net::SocketAddr, num::NonZeroU32, time::Duration};

use dbutil::Db;
use gateway::{
    Config, Limits, Upstreams,
    bootstrap::{BootstrapRequest, Bootstrapped},
};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use servicekit::{AuthConfig, Lifecycle, ServiceConfig};
use shared_models::Service;
use testkit::{Answer, Api, Stub, TestDb, TestNats, Trust};
use tokio::net::TcpListener;

pub(crate) struct World {
    pub(crate) db: TestDb,
    pub(crate) trust: Trust,
    pub(crate) address: SocketAddr,
    /// The public listener, without credentials.
    pub(crate) public: Api,
    /// The internal listener, without credentials.
    pub(crate) internal: Api,
    /// The public listener with the first owner's key, who also runs the platform.
    pub(crate) owner: Api,
    pub(crate) key: String,
    pub(crate) home: Bootstrapped,
    pub(crate) credsvc: Stub,
    pub(crate) eventsvc: Stub,
    pub(crate) engine: Stub,
    pub(crate) life: Lifecycle,
    _nats: TestNats,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// A gateway with some settings changed.
    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let db = TestDb::new("gateway", &gateway::MIGRATOR).await;
        let nats = TestNats::start().await;
        let trust = Trust::new();
        let (credsvc, eventsvc, engine) =
            tokio::join!(stub(Service::Credsvc), stub(Service::Eventsvc), stub(Service::Engine));
        let upstreams = Upstreams {
            credsvc: credsvc.url().parse().unwrap(),
            eventsvc: eventsvc.url().parse().unwrap(),
            engine: engine.url().parse().unwrap(),
        };
        let mut config = config(&db, &nats, upstreams);
        change(&mut config);
        let handle: Db = db.db("gateway").await;
        gateway::bootstrap::register_keys(&handle, &trust.public()).await.unwrap();
        let mut home = gateway::bootstrap::bootstrap(&handle, request()).await.unwrap();
        let key = home.api_key.take().unwrap().expose_secret().to_owned();

        let life = Lifecycle::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let internal = Api::at(format!("http://{}", config.internal_listen));
        gateway::start(config, listener, &life).await.unwrap();
        let public = Api::at(format!("http://{address}"));
        let owner = public.token(&key);
        Self {
            db,
            trust,
            address,
            public,
            internal,
            owner,
            key,
            home,
            credsvc,
            eventsvc,
            engine,
            life,
            _nats: nats,
        }
    }

    /// Adds a member to the first tenant and gives a client with a key of theirs.
    pub(crate) async fn member(&self, role: &str) -> Member {
        let email = format!("{role}-{}@example.com", shared_models::UserId::mint().uuid());
        let body = json!({ "email": email, "role": role });
        let id = text(&self.owner.post("/v1/members", &body).await.expect(201)["user_id"]);
        let (secret, api) = self.key_for(&id).await;
        Member { id, api, key: secret }
    }

    /// A second tenant with an owner of its own.
    pub(crate) async fn rival(&self) -> Api {
        let body = json!({ "name": "Rival", "owner_email": "owner@rival.example" });
        let made = self.owner.post("/v1/tenants", &body).await.expect(201);
        self.public.token(made["secret"].as_str().unwrap())
    }

    /// A key of somebody who cannot sign in otherwise.
    pub(crate) async fn key_for(&self, user: &str) -> (String, Api) {
        let body = json!({ "name": "from the owner", "user_id": user });
        let secret = text(&self.owner.post("/v1/api-keys", &body).await.expect(201)["secret"]);
        let api = self.public.token(&secret);
        (secret, api)
    }

    /// The claims of the token that a service was last shown at a path.
    pub(crate) async fn claims(&self, service: Service, path: &str) -> servicekit::Claims {
        let stub = self.stub(service);
        let seen = stub.requests().into_iter().rev().find(|request| request.path == path).unwrap();
        let token = seen.header("authorization").strip_prefix("Bearer ").unwrap().to_owned();
        self.trust.verifier(service).verify(&token).await.unwrap().as_ref().clone()
    }

    pub(crate) fn stub(&self, service: Service) -> &Stub {
        match service {
            Service::Credsvc => &self.credsvc,
            Service::Eventsvc => &self.eventsvc,
            Service::Engine => &self.engine,
            Service::Gateway => panic!("the gateway is no stub"),
        }
    }
}

pub(crate) struct Member {
    pub(crate) id: String,
    pub(crate) api: Api,
    pub(crate) key: String,
}

pub(crate) fn request() -> BootstrapRequest {
    BootstrapRequest { email: "Admin@Example.com".into(), tenant: "Home".into() }
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

/// Says who it is and what it was asked.
async fn stub(service: Service) -> Stub {
    Stub::start(move |request| match request.path.as_str() {
        "/readyz" => Answer::Json(200, json!({})),
        "/openapi.json" => Answer::Json(200, document(service)),
        "/errors" => {
            let code = json!({ "code": format!("{service}_code"), "status": 409, "title": "x" });
            Answer::Json(200, json!({ "items": [code] }))
        }
        path if path.ends_with("/reset") => Answer::Reset,
        path if path.ends_with("/never") => Answer::Never,
        _ => Answer::Raw(
            201,
            [
                ("content-type", "application/json"),
                ("connection", "x-hop"),
                ("x-hop", "1"),
                ("etag", "\"1\""),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
            json!({ "service": service, "path": request.path, "bytes": request.body.len() })
                .to_string()
                .into_bytes(),
        ),
    })
    .await
}

fn document(service: Service) -> Value {
    json!({
        "openapi": "3.1.0",
        "info": { "title": service, "version": "0" },
        "paths": {
            format!("/v1/of-{service}"): { "get": {
                "operationId": "get_thing",
                "responses": { "200": { "description": "", "content": { "application/json": {
                    "schema": { "$ref": "#/components/schemas/Thing" } } } } },
            } },
            "/internal/secret": { "get": { "responses": {} } },
        },
        "components": { "schemas": { "Thing": { "type": "object", "title": service } } },
    })
}

fn config(db: &TestDb, nats: &TestNats, upstreams: Upstreams) -> Config {
    // The gateway opens this one itself.
    let internal = ([127, 0, 0, 1], testkit::free_port()).into();
    let many = NonZeroU32::new(10_000).unwrap();
    Config {
        service: ServiceConfig {
            service: Service::Gateway,
            listen: "127.0.0.1:0".parse().unwrap(),
            db: db.config("gateway"),
            nats: nats.config(Service::Gateway),
            relay: pubsub::RelayConfig::default(),
            auth: AuthConfig {
                jwks_url: "http://unused.invalid".parse().unwrap(),
                service_key: Trust::seed(Service::Gateway).into(),
            },
        },
        internal_listen: internal,
        upstreams,
        limits: Limits {
            body: 1024 * 1024,
            rate: many,
            burst: many,
            failed_auth_burst: many,
            key_cache: Duration::from_secs(5),
            upstream_timeout: Duration::from_secs(20),
        },
        trusted_proxies: Vec::new(),
    }
}
