//! The hot statements, planned as the application's login: row-level security must not keep them from their indexes.

use sqlx::AssertSqlSafe;

use crate::harness::TestApp;

const CREDENTIAL: &str = include_str!("../../src/store/credential.rs");
const GROUP: &str = include_str!("../../src/store/group.rs");
const TENANT_KEY: &str = include_str!("../../src/store/tenant_key.rs");
const AUDIT: &str = include_str!("../../src/store/audit.rs");

/// The first statement of a store function, as it is written there.
fn statement<'a>(source: &'a str, function: &str) -> &'a str {
    let body = &source[source.find(&format!("async fn {function}(")).unwrap()..];
    let start = body.find("select").unwrap();
    let raw = body[..start].ends_with("r#\"");
    &body[start..start + body[start..].find(if raw { "\"#" } else { "\"," }).unwrap()]
}

#[tokio::test]
async fn the_hot_statements_use_their_indexes_under_row_level_security() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();

    for (name, source, function, parameters, condition) in [
        ("credential", CREDENTIAL, "find", 2, "(credential_id = $2)"),
        ("credential list", CREDENTIAL, "list_page", 11, "(tenant_id = $1)"),
        ("credentials of a group", GROUP, "look", 5, "(credential_id = n.wanted)"),
        ("grants of a group", GROUP, "look", 5, "(grantee_id = n.grantee_id)"),
        ("keys of a group", GROUP, "look", 5, "(version = "),
        ("heads", GROUP, "lock_heads", 1, "(tenant_id = ANY ($1))"),
        ("active key", TENANT_KEY, "find_active", 1, "(tenant_id = $1)"),
        ("key", TENANT_KEY, "find", 2, "(version = $2)"),
        ("audit", AUDIT, "list_after", 3, "(seq > $2)"),
    ] {
        let sql = statement(source, function);
        let mut tx = app.store.begin(owner.tenant).await.unwrap();
        // Tables this small are read whole unless that is forbidden; a plan without an index shows all the same.
        for setting in ["enable_seqscan = off", "plan_cache_mode = force_generic_plan"] {
            let set = AssertSqlSafe(format!("set local {setting}"));
            sqlx::query(set).execute(&mut *tx).await.unwrap();
        }
        sqlx::raw_sql(AssertSqlSafe(format!("prepare hot as {sql}")))
            .execute(&mut *tx)
            .await
            .unwrap();
        let nulls = vec!["null"; parameters].join(", ");
        let explain = AssertSqlSafe(format!("explain execute hot({nulls})"));
        let plan: Vec<String> = sqlx::query_scalar(explain).fetch_all(&mut *tx).await.unwrap();
        sqlx::raw_sql("deallocate hot").execute(&mut *tx).await.unwrap();

        let plan = plan.join("\n");
        let indexed =
            plan.lines().any(|line| line.contains("Index Cond") && line.contains(condition));
        assert!(indexed && !plan.contains("Seq Scan on"), "{name}:\n{plan}");
    }
}
