use serde_json::{Value, json};
use testkit::eventually;

use crate::world::{World, text};

#[tokio::test]
async fn a_platform_administrator_makes_a_tenant_with_a_way_in() {
    let world = World::start().await;
    let once = world.owner.header("idempotency-key", "acme");
    let body = json!({ "name": "Acme, Inc.", "owner_email": "Boss@acme.example" });

    let made = once.post("/v1/tenants", &body).await.expect(201);

    assert_eq!(made["tenant"]["slug"], "acme-inc");
    assert_eq!(made["tenant"]["kind"], "organization");
    let boss = world.public.token(made["secret"].as_str().unwrap());
    let me = boss.get("/v1/me").await.expect(200);
    assert_eq!(me["tenant"]["id"], made["tenant"]["id"]);
    assert_eq!(me["user"]["id"], made["owner_id"]);
    assert_eq!(me["teams"], json!([made["default_team_id"]]));
    assert_eq!((&me["role"], &me["platform_admin"]), (&json!("owner"), &json!(false)));
    let again = once.post("/v1/tenants", &body).await.expect(201);
    assert_eq!((&again["owner_id"], &again["secret"]), (&made["owner_id"], &Value::Null));
    assert_eq!(world.owner.post("/v1/tenants", &body).await.refusal(), (409, "slug_taken"));
    assert!(!world.db.dump().await.contains(made["secret"].as_str().unwrap()));

    let all = world.owner.get("/v1/tenants").await.expect(200);
    let slugs: Vec<_> = all["items"].as_array().unwrap().iter().map(|t| text(&t["slug"])).collect();
    assert_eq!(slugs, ["acme-inc", "home"]);
    assert_eq!(boss.get("/v1/tenants").await.refusal(), (403, "scope_missing"));
    assert_eq!(boss.post("/v1/tenants", &body).await.refusal(), (403, "scope_missing"));
}

#[tokio::test]
async fn a_tenant_that_came_to_be_is_announced_in_its_own_name() {
    let world = World::start().await;
    let made = json!({ "name": "Acme", "owner_email": "a@acme.example" });
    let id = text(&world.owner.post("/v1/tenants", &made).await.expect(201)["tenant"]["id"]);

    let mut admin = world.db.admin().await;
    let subject = format!("identity.{id}.tenant.created.v1");
    let in_its_name: Vec<bool> = sqlx::query_scalar(
        "select envelope->>'tenant' = $1 from gateway.outbox where subject = $2",
    )
    .bind(&id)
    .bind(&subject)
    .fetch_all(&mut admin)
    .await
    .unwrap();
    assert_eq!(in_its_name, [true]);
    eventually("the event to be published", || async {
        let mut admin = world.db.admin().await;
        sqlx::query_scalar::<_, i32>(
            "select 1 from gateway.outbox where subject = $1 and published_at is not null",
        )
        .bind(&subject)
        .fetch_optional(&mut admin)
        .await
        .unwrap()
    })
    .await;
}

#[tokio::test]
async fn administrators_change_their_tenant_and_nobody_elses() {
    let world = World::start().await;
    let rival = world.rival().await;
    let member = world.member("member").await;

    let edit = world.owner.header("if-match", "\"1\"");
    let changed = edit
        .patch("/v1/tenant", &json!({ "name": "Home 2", "contact_email": null }))
        .await
        .expect(200);

    assert_eq!((&changed["name"], &changed["contact_email"]), (&json!("Home 2"), &Value::Null));
    assert_eq!(
        edit.patch("/v1/tenant", &json!({ "name": "x" })).await.refusal(),
        (412, "precondition_failed")
    );
    assert_eq!(
        world.owner.patch("/v1/tenant", &json!({ "plan": "gold" })).await.refusal(),
        (422, "validation_failed")
    );
    assert_eq!(
        member.api.patch("/v1/tenant", &json!({ "name": "x" })).await.refusal(),
        (403, "scope_missing")
    );
    assert_eq!(member.api.get("/v1/tenant").await.expect(200), changed);
    assert_eq!(rival.get("/v1/tenant").await.expect(200)["name"], "Rival");
}

#[tokio::test]
async fn the_database_shows_a_tenant_only_its_own() {
    let world = World::start().await;
    world.rival().await;
    let db = world.db.db("gateway").await;

    let mut tx = db.begin(world.home.tenant_id).await.unwrap();
    for (table, expected) in
        [("tenant", 1), ("membership", 1), ("app_user", 1), ("team", 1), ("api_key", 1)]
    {
        let count: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
            "select count(*) from gateway.{table}"
        )))
        .fetch_one(&mut *tx)
        .await
        .unwrap();
        assert_eq!(count, expected, "{table}");
    }
    let refused = sqlx::query("update gateway.app_user set name = 'x'").execute(&mut *tx).await;
    assert!(refused.unwrap_err().to_string().contains("permission denied"));
}
