//! The whole service, started as in production.

use std::time::Duration;

use credsvc::start;
use pubsub::OutboxRow;
use serde_json::json;
use servicekit::Lifecycle;
use shared_models::{MessageId, Service, events::tenant::MemberRemoved};
use testkit::{Answer, Api, Stub, TestDb, TestNats, Trust, eventually};
use tokio::net::TcpListener;

use crate::harness::{SECRET, config, of};

#[tokio::test]
async fn a_started_service_is_ready_serves_publishes_and_stops() {
    let (trust, nats) = (Trust::new(), TestNats::start().await);
    let keys = json!({ "keys": trust.public() });
    let gateway = Stub::start(move |_| Answer::Json(200, keys.clone())).await;
    let db = TestDb::new("credsvc", &credsvc::MIGRATOR).await;
    deleted(&db).await;
    let folder = tempfile::tempdir().unwrap();
    let root_key = folder.path().join("root.key").display().to_string();
    let mut config = config(&[
        ("SWITCHYARD_ROOT_KEY_FILE", &root_key),
        ("SWITCHYARD_JWKS_URL", &format!("{}/internal/jwks", gateway.url())),
    ]);
    config.service.db = db.config("credsvc");
    config.service.nats = nats.config(Service::Credsvc);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let api = Api::at(format!("http://{}", listener.local_addr().unwrap()));
    let life = Lifecycle::new();

    start(config, listener, &life).await.unwrap();

    api.get("/readyz").await.expect(200);
    let owner = trust.owner();
    let api = api.token(&owner.token(Service::Credsvc));
    let mine = json!({ "name": "mine", "credentials": { "token": SECRET } });
    api.post(&of(&owner), &mine).await.expect(201);
    let tenants = json!({ "name": "theirs", "user_id": null, "credentials": { "token": SECRET } });
    api.post(&of(&owner), &tenants).await.expect(201);
    let remote = api.get("/v1/credential-audit").await.expect(200)["items"][0]["remote"].clone();
    assert_eq!(remote, json!("127.0.0.1"));
    let mut admin = db.admin().await;
    eventually("the event to be acknowledged by the broker", async || {
        let sql = "select stream from credsvc.outbox where published_at is not null";
        sqlx::query_scalar::<_, String>(sql).fetch_optional(&mut admin).await.unwrap()
    })
    .await;
    eventually("what was deleted long ago to be shredded", async || {
        let sql =
            "select string_agg(name, ' ') from credsvc.credential where deleted_at is not null";
        let left: Option<String> = sqlx::query_scalar(sql).fetch_one(&mut admin).await.unwrap();
        (left.as_deref() == Some("30")).then_some(())
    })
    .await;
    let metrics = api.get("/metrics").await.text;
    assert!(metrics.is_empty() || metrics.contains("http_requests_total"), "{metrics}");
    let rival = trust.owner();
    let bus = nats.bus(Service::Gateway).await;
    let at = sqlx::query_scalar("select now()").fetch_one(&mut admin).await.unwrap();
    // Whoever leaves another tenant leaves only that.
    for tenant in [rival.tenant, owner.tenant] {
        let event = MemberRemoved { user_id: owner.user, removed_by: None };
        let id = (MessageId::mint().uuid(), 0);
        let row = OutboxRow::new(tenant, id, at, &event).unwrap();
        bus.jetstream().publish(row.subject, row.envelope.into()).await.unwrap().await.unwrap();
    }
    eventually("what is theirs alone to be revoked", async || {
        let sql = "select string_agg(name || ' ' || health || ' ' || coalesce(health_reason, '-'), ', ' order by name)
                   from credsvc.credential where deleted_at is null";
        let now: Option<String> = sqlx::query_scalar(sql).fetch_one(&mut admin).await.unwrap();
        (now.as_deref() == Some("mine revoked owner_left, theirs ok -")).then_some(())
    })
    .await;
    let audit = api.get("/v1/credential-audit?action=disconnect").await.expect(200);
    assert_eq!(audit["items"][0]["purpose"], "its owner is no member any more", "{audit}");
    assert_eq!(audit["items"].as_array().unwrap().len(), 1);
    let sql =
        "select count(*) from credsvc.outbox where subject like '%credential.health_changed%'";
    let told: i64 = sqlx::query_scalar(sql).fetch_one(&mut admin).await.unwrap();
    assert_eq!(told, 1);
    life.shutdown();
    life.wait(Duration::from_secs(10)).await.unwrap();
}

/// Two credentials, deleted 30 and 32 days ago.
async fn deleted(db: &TestDb) {
    sqlx::raw_sql(
        "insert into credsvc.tenant_key (tenant_id, version, wrapped, root_version, state)
         values ('00000000-0000-7000-8000-000000000001', 1, '', 1, 'retired');
         insert into credsvc.credential (credential_id, tenant_id, name, type, environment, meta, mask,
             tenant_key_version, data_key, sealed, created_by, deleted_at)
         select gen_random_uuid(), '00000000-0000-7000-8000-000000000001', days::text, 'generic',
             'production', '{}', '{}', 1, 'sy:v1:', 'sy:v1:', gen_random_uuid(),
             now() - make_interval(days => days)
         from unnest(array[30, 32]) as days",
    )
    .execute(&mut db.admin().await)
    .await
    .unwrap();
}
