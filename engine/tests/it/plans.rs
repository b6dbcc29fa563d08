//! The hot statements, planned as their own login: row-level security must not keep them from their indexes.

use serde_json::json;
use sqlx::AssertSqlSafe;

use crate::{harness::TestApp, scene};

const GROUP: &str = include_str!("../../src/committer/group.sql");
const CREATE: &str = include_str!("../../src/create.sql");
const CREATOR: &str = include_str!("../../src/creator/group.sql");
const FIND: &str = include_str!("../../src/store/run_find.sql");
const CLAIM: &str = include_str!("../../src/store/claim.sql");
const ORPHANS: &str = include_str!("../../src/store/requeue_orphans.sql");
const SIGNALLED: &str = include_str!("../../src/store/requeue_signalled.sql");
const DUE: &str = include_str!("../../src/store/requeue_due.sql");
const CONTENT: &str = include_str!("../../src/store/forget_content.sql");
const RUNS: &str = include_str!("../../src/store/forget_runs.sql");
const LIST: &str = include_str!("../../src/store/run_list.sql");

/// Parameters of an append group.
const APPEND: usize = 61;

#[tokio::test]
async fn the_hot_statements_use_their_indexes_under_row_level_security() {
    let app = TestApp::start().await;
    let db = app.db.db("engine").await;
    let tenant = app.trust.owner().tenant;

    for (name, sql, parameters, indexes) in [
        ("the journal's group", GROUP, APPEND, &["run_pkey", "run_signal_", "run_timer_pkey"][..]),
        ("a new run", CREATE, 37, &[]),
        ("new runs", CREATOR, 36, &["catalogue_pkey"]),
        ("one run", FIND, 2, &["run_pkey"]),
    ] {
        let mut tx = db.begin(tenant).await.unwrap();
        check(name, &plan(&mut tx, sql, parameters).await, indexes);
    }
    let mut tx = db.system("a test").await.unwrap();
    let claim = plan(&mut tx, CLAIM, 4).await;
    check("a claim", &claim, &["run_lane_idx", "run_running_idx", "run_pkey", "run_parent_idx"]);
}

/// With many runs that have ended or wait, and statistics that say so.
#[tokio::test]
async fn claims_sweeps_and_pruning_never_read_all_runs() {
    let app = TestApp::without_workers().await;
    let api = app.person(&app.trust.owner());
    let agent = scene::agent(&api, &json!({ "name": "a", "model": "sim:echo" })).await;
    scene::start(&api, &agent).await;
    sqlx::raw_sql(MANY).execute(&mut app.db.admin().await).await.unwrap();
    let db = app.db.db("engine").await;

    for (name, sql, values, indexes) in [
        (
            "a claim",
            CLAIM,
            "gen_random_uuid(), 64, 64, 2::smallint",
            &["run_lane_idx", "run_running_idx", "run_pkey", "run_parent_idx"][..],
        ),
        ("the sweep for orphans", ORPHANS, "", &["run_running_idx"]),
        ("the sweep for signals", SIGNALLED, "", &["run_signal_open_idx", "run_pkey"]),
        ("the sweep for timers", DUE, "", &["run_timer_due_idx", "run_pkey", "run_parent_idx"]),
        (
            "forgetting content",
            CONTENT,
            "30, 200, 400",
            &["run_content_due_idx", "run_child_idx", "content_pkey", "journal_pkey"],
        ),
        ("forgetting runs", RUNS, "400, 200", &["run_row_due_idx", "effect_pkey", "run_pkey"]),
    ] {
        let mut tx = db.system("a test").await.unwrap();
        let plan = plan_of(&mut tx, sql, values).await;
        assert!(!plan.contains("Seq Scan on run"), "{name}:\n{plan}");
        for index in indexes {
            assert!(plan.contains(index), "{name} does not use {index}:\n{plan}");
        }
    }
    // As the journal's connection has it.
    let mut tx = db.begin(app.trust.owner().tenant).await.unwrap();
    sqlx::raw_sql("set local enable_nestloop = off; set local enable_bitmapscan = off")
        .execute(&mut *tx)
        .await
        .unwrap();
    let group = plan(&mut tx, GROUP, APPEND).await;
    check("the journal's group", &group, &["run_pkey", "run_signal_open_idx", "run_timer_pkey"]);
    assert!(!group.contains("Nested Loop"), "lists are joined by nested loops:\n{group}");
}

/// Among many that somebody has asked for.
#[tokio::test]
async fn a_list_of_runs_of_one_origin_reads_no_others() {
    let app = TestApp::without_workers().await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    let agent = scene::agent(&api, &json!({ "name": "a", "model": "sim:echo" })).await;
    scene::start(&api, &agent).await;
    let mut admin = app.db.admin().await;
    let fewer = AssertSqlSafe(MANY.replace("100000", "10000"));
    sqlx::raw_sql(fewer).execute(&mut admin).await.unwrap();
    sqlx::raw_sql(OTHERS).execute(&mut admin).await.unwrap();
    let db = app.db.db("engine").await;

    for (origins, index) in [
        ("trigger", "run_trigger_idx"),
        ("run", "run_work_idx"),
        ("evaluation", "run_tried_idx"),
        ("retry", "run_link_kind_idx"),
        ("fork,retry", "run_link_kind_idx"),
    ] {
        let mut tx = db.begin(owner.tenant).await.unwrap();
        let page = format!(
            "'{}', true, null, '{{}}', null, null, null, null, null, now(), gen_random_uuid(), 51, null, null, null, null, \
             '{{{origins}}}'",
            owner.tenant.uuid()
        );
        let plan = plan_of(&mut tx, LIST, &page).await;
        assert!(plan.contains(index), "{origins} does not use {index}:\n{plan}");
        assert!(!plan.contains("run_page_idx"), "{origins}:\n{plan}");
        assert!(!plan.contains("Seq Scan on run r"), "{origins}:\n{plan}");
    }
}

/// Some of [`MANY`] come of something else.
const OTHERS: &str = "
    with other as (select run_id, row_number() over () as n from engine.run limit 800)
    update engine.run r set trigger_id = case when n % 4 = 0 then gen_random_uuid() end,
        parent_run_id = case when n % 4 = 1 then gen_random_uuid() end,
        evaluation_id = case when n % 4 = 2 then gen_random_uuid() end
    from other o where o.run_id = r.run_id;
    insert into engine.run_link (run_id, tenant_id, of_run_id, kind)
    select run_id, tenant_id, run_id, (array['retry', 'fork'])[1 + random()::int] from engine.run
    where trigger_id is null and parent_run_id is null and evaluation_id is null limit 100;
    analyze engine.run, engine.run_link";

/// Copies of one run: 60,000 have ended, 20,000 wait, 20,000 are queued.
const MANY: &str = "
    insert into engine.run
    select (jsonb_populate_record(r, jsonb_build_object('run_id', copy.id, 'root_run_id', copy.id,
        'status', case when copy.n % 5 < 3 then 'succeeded' when copy.n % 5 = 3 then 'waiting' else 'queued' end,
        'wait_reason', case when copy.n % 5 = 3 then 'input' end,
        'finished_at', case when copy.n % 5 < 3 then now() - copy.n * interval '1 minute' end))).*
    from engine.run r, (select n, gen_random_uuid() as id from generate_series(1, 100000) as n) copy;
    insert into engine.run_timer (run_id, name, tenant_id, due_at)
    select run_id, 'deadline', tenant_id, now() + interval '1 hour' from engine.run where status <> 'succeeded'
    on conflict do nothing;
    analyze engine.run, engine.run_timer, engine.run_signal, engine.worker";

/// The plan for these values, as the service would get it: what it sets is set here.
async fn plan_of(connection: &mut sqlx::PgConnection, sql: &str, values: &str) -> String {
    sqlx::raw_sql("set local enable_seqscan = off; set local jit = off")
        .execute(&mut *connection)
        .await
        .unwrap();
    let prepare = AssertSqlSafe(format!("prepare these as {sql}"));
    sqlx::raw_sql(prepare).execute(&mut *connection).await.unwrap();
    let values = if values.is_empty() { String::new() } else { format!("({values})") };
    let explain = AssertSqlSafe(format!("explain execute these{values}"));
    let plan: Vec<String> = sqlx::query_scalar(explain).fetch_all(&mut *connection).await.unwrap();
    sqlx::raw_sql("deallocate these").execute(connection).await.unwrap();
    plan.join("\n")
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
