//! The hot statements, planned as their own login: row-level security must not keep them from their indexes.

use sqlx::AssertSqlSafe;

use crate::harness::TestApp;

const GROUP: &str = include_str!("../../src/committer/group.sql");
const CREATE: &str = include_str!("../../src/create.sql");
const FIND: &str = include_str!("../../src/store/run_find.sql");
const CLAIM: &str = include_str!("../../src/store/claim.sql");

#[tokio::test]
async fn the_hot_statements_use_their_indexes_under_row_level_security() {
    let app = TestApp::start().await;
    let db = app.db.db("engine").await;
    let tenant = app.trust.owner().tenant;

    for (name, sql, parameters, indexes) in [
        ("the journal's group", GROUP, 41, &["run_pkey", "run_signal_", "run_timer_pkey"][..]),
        ("a new run", CREATE, 23, &[]),
        ("one run", FIND, 2, &["run_pkey"]),
    ] {
        let mut tx = db.begin(tenant).await.unwrap();
        check(name, &plan(&mut tx, sql, parameters).await, indexes);
    }
    let mut tx = db.system("a test").await.unwrap();
    let claim = plan(&mut tx, CLAIM, 3).await;
    check("a claim", &claim, &["run_queued_idx", "run_running_idx", "run_pkey"]);
}

async fn plan(connection: &mut sqlx::PgConnection, sql: &str, parameters: usize) -> String {
    // Tables this small are read whole unless that is forbidden; a plan without an index shows all the same.
    for setting in ["enable_seqscan = off", "plan_cache_mode = force_generic_plan"] {
        let set = AssertSqlSafe(format!("set local {setting}"));
        sqlx::query(set).execute(&mut *connection).await.unwrap();
    }
    let prepare = AssertSqlSafe(format!("prepare hot as {sql}"));
    sqlx::raw_sql(prepare).execute(&mut *connection).await.unwrap();
    let nulls = vec!["null"; parameters].join(", ");
    let explain = AssertSqlSafe(format!("explain execute hot({nulls})"));
    let plan: Vec<String> = sqlx::query_scalar(explain).fetch_all(&mut *connection).await.unwrap();
    sqlx::raw_sql("deallocate hot").execute(connection).await.unwrap();
    plan.join("\n")
}

fn check(name: &str, plan: &str, indexes: &[&str]) {
    assert!(!plan.contains("Seq Scan on"), "{name}:\n{plan}");
    for index in indexes {
        assert!(plan.contains(index), "{name} does not use {index}:\n{plan}");
    }
}
