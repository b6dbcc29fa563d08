//! Every route with bad credentials.

use std::collections::BTreeMap;

use serde_json::json;
use shared_models::{AgentId, Service};
use testkit::Walk;

use crate::harness::{SECRET, TestApp, ask, grant};

#[tokio::test]
async fn every_route_refuses_who_may_not_call_it() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let (id, agent) = (app.own(&owner).await, AgentId::mint());
    let new = json!({ "credentials": { "token": SECRET } });
    let kind = |name: &str| {
        let schema = json!({ "type": "object" });
        json!({ "name": name, "display_name": "Mine", "category": "generic", "schema": schema })
    };
    let client =
        json!({ "name": "c", "provider": "github", "client_id": "i", "client_secret": "s" });
    let api = app.person(&owner);
    api.post("/v1/credential-types", &kind("mine")).await.expect(201);
    let stored = api.post("/v1/oauth-clients", &client).await.expect(201);
    let oauth_client = stored["oauth_client_id"].as_str().unwrap().to_owned();
    let session = json!({ "oauth_client_id": oauth_client });
    let made = api.post("/v1/connect_sessions", &session).await.expect(201);
    let made = made["connect_session_id"].as_str().unwrap().to_owned();

    let walk = Walk {
        openapi: app.openapi.clone(),
        api: app.api.clone(),
        service: Service::Credsvc,
        params: BTreeMap::from([
            ("tenant_id", owner.tenant.to_string()),
            ("credential_id", id.clone()),
            ("kind", "agent".into()),
            ("id", agent.to_string()),
            ("name", "mine".into()),
            ("oauth_client_id", oauth_client),
            ("connect_session_id", made),
            ("path", "user".into()),
            ("link", "x.y".into()),
        ]),
        bodies: BTreeMap::from([
            ("POST /tenant/{tenant_id}/credentials", new.clone()),
            ("POST /internal/credentials", new),
            ("POST /internal/grants", grant(&id, agent, owner.user)),
            ("POST /internal/credentials/{credential_id}/resolve", ask(agent, owner.user)),
            ("PATCH /tenant/{tenant_id}/credentials/{credential_id}", json!({ "meta": {} })),
            ("POST /v1/credential-types", kind("other")),
            ("PUT /v1/credential-types/{name}", kind("mine")),
            ("POST /v1/oauth-clients", client),
            ("POST /v1/connect_sessions", session),
        ]),
        // A link proves itself, and so does the way back from a provider.
        open: &["GET /v1/connect/{link}", "GET /v1/oauth/callback"],
        // A colleague may store and list in the same tenant; what they see there is tested elsewhere.
        shared: BTreeMap::from([
            ("POST /tenant/{tenant_id}/credentials", 201),
            ("GET /tenant/{tenant_id}/credentials", 200),
            // The tenant's types are everybody's to see; only administrators change them.
            ("GET /v1/credential-types/{name}", 200),
        ]),
        owner,
    };
    walk.run().await;
}
