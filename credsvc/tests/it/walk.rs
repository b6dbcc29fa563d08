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

    let walk = Walk {
        openapi: app.openapi.clone(),
        api: app.api.clone(),
        service: Service::Credsvc,
        params: BTreeMap::from([
            ("tenant_id", owner.tenant.to_string()),
            ("credential_id", id.clone()),
            ("kind", "agent".into()),
            ("id", agent.to_string()),
        ]),
        bodies: BTreeMap::from([
            ("POST /tenant/{tenant_id}/credentials", new.clone()),
            ("POST /internal/credentials", new),
            ("POST /internal/grants", grant(&id, agent, owner.user)),
            ("POST /internal/credentials/{credential_id}/resolve", ask(agent, owner.user)),
            ("PATCH /tenant/{tenant_id}/credentials/{credential_id}", json!({ "meta": {} })),
        ]),
        open: &[],
        // A colleague may store and list in the same tenant; what they see there is tested elsewhere.
        shared: BTreeMap::from([
            ("POST /tenant/{tenant_id}/credentials", 201),
            ("GET /tenant/{tenant_id}/credentials", 200),
        ]),
        owner,
    };
    walk.run().await;
}
