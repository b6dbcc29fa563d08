use agentcore::Message;
use dbutil::Db;
use shared_models::{
    AgentId, AgentScope, AgentStatus, Effect, EffectState, RunStatus, TenantId, UserId, WaitReason,
};
use sqlx::AssertSqlSafe;
use testkit::TestDb;

use super::*;
use crate::create::{self, NewRun};
use crate::definition::Limits;
use crate::record::Record;
use crate::snapshot::RunSnapshot;

struct Scene {
    test: TestDb,
    db: Db,
}

impl Scene {
    async fn start() -> Self {
        let test = TestDb::new("engine", &crate::MIGRATOR).await;
        let db = test.db("engine").await;
        Self { test, db }
    }

    fn seat(&self) -> Seat {
        Seat::new("engine", "test", &self.test.config("engine")).unwrap()
    }

    /// A run that is under way in epoch 1, and an append of its next record.
    async fn run(&self) -> Append {
        let (tenant, run) = (TenantId::mint(), RunId::mint());
        let owner = UserId::mint();
        let new = NewRun {
            run,
            principal: owner,
            initiator: None,
            firing: None,
            input: Message::user("go"),
            traceparent: None,
            deadline: None,
            end_user: None,
            place: None,
            variables: crate::template::Variables::new(),
            evaluation: None,
        };
        let mut tx = self.db.begin(tenant).await.unwrap();
        assert!(
            create::create(&mut tx, &RunConfig::default(), &new, &snapshot(owner)).await.unwrap()
        );
        tx.commit().await.unwrap();
        let mut admin = self.test.admin().await;
        let claim = format!(
            "update engine.run set status = 'running', worker_id = run_id, epoch = 1 where run_id = '{}'",
            run.uuid()
        );
        sqlx::query(AssertSqlSafe(claim)).execute(&mut admin).await.unwrap();
        let mut append = Append::new(tenant, run, 1, 3);
        append.records.push(Record::Stopped { reason: "a test".into(), by: None }.into());
        append
    }

    /// Commits these as one group, and gives the answers.
    async fn commit(&self, appends: Vec<Append>) -> Vec<Committed> {
        let (jobs, answers): (Vec<Job>, Vec<_>) = appends
            .into_iter()
            .map(|append| {
                let (done, answer) = oneshot::channel();
                (Job { append: append.into(), done }, answer)
            })
            .unzip();
        commit(&mut self.seat(), 0, jobs).await;
        let mut all = Vec::new();
        for answer in answers {
            all.push(answer.await.unwrap());
        }
        all
    }

    async fn next_seq(&self, append: &Append) -> i64 {
        let mut admin = self.test.admin().await;
        sqlx::query_scalar("select next_seq from engine.run where run_id = $1")
            .bind(append.run)
            .fetch_one(&mut admin)
            .await
            .unwrap()
    }
}

fn snapshot(owner: UserId) -> RunSnapshot {
    RunSnapshot {
        agent_id: AgentId::mint(),
        agent_version: 1,
        agent_name: "a".into(),
        owner,
        scope: AgentScope::User,
        team_id: None,
        status: AgentStatus::Active,
        instructions: String::new(),
        variables: crate::template::Variables::new(),
        model: "sim:echo".into(),
        fallback_model: None,
        model_credential: None,
        temperature: 1.0,
        max_tokens: None,
        max_steps: 10,
        limits: Limits::default(),
        budget: crate::definition::Budget::default(),
        above: Vec::new(),
        output_schema: None,
        models: Vec::new(),
        unavailable: None,
        hooks: Vec::new(),
        approvals: Vec::new(),
        history: Vec::new(),
        recalled: None,
        replay: None,
        fork: None,
        swarm: None,
        tools: Vec::new(),
    }
}

#[tokio::test]
async fn a_bad_row_fails_alone() {
    let scene = Scene::start().await;
    let mut appends = Vec::new();
    for _ in 0..7 {
        appends.push(scene.run().await);
    }
    // A wait without a reason breaks a constraint.
    appends[4].change.status = Some(RunStatus::Waiting);

    let answers = scene.commit(appends.clone()).await;

    for (place, (answer, append)) in answers.iter().zip(&appends).enumerate() {
        let bad = place == 4;
        assert_eq!(matches!(answer, Err(AppendError::Rejected(_))), bad, "{answer:?}");
        assert_eq!(scene.next_seq(append).await, if bad { 3 } else { 4 });
    }
}

#[tokio::test]
async fn an_old_epoch_is_refused_alone_and_writes_nothing() {
    let scene = Scene::start().await;
    let (fresh, mut stale, mut behind) = (scene.run().await, scene.run().await, scene.run().await);
    stale.epoch = 0;
    behind.seq = 2;

    let answers = scene.commit(vec![stale.clone(), fresh, behind]).await;

    assert_eq!(answers[0], Err(AppendError::Fenced));
    assert!(answers[1].is_ok());
    assert_eq!(answers[2], Err(AppendError::Fenced));
    let mut admin = scene.test.admin().await;
    let records: i64 = sqlx::query_scalar("select count(*) from engine.journal where run_id = $1")
        .bind(stale.run)
        .fetch_one(&mut admin)
        .await
        .unwrap();
    assert_eq!(records, 2);
}

#[tokio::test]
async fn an_append_whose_answer_was_lost_is_not_refused_because_it_succeeded() {
    let scene = Scene::start().await;
    let (append, mut taken) = (scene.run().await, scene.run().await);
    taken.epoch = 0;
    let mut seat = scene.seat();
    let Ok(first) = group::commit(&mut seat, &[&append], 0).await else { panic!("not committed") };

    let Ok(again) = group::commit_again(&mut seat, &[&append, &taken], 0).await else {
        panic!("not committed")
    };

    assert_eq!(again.get(&append.run), first.get(&append.run));
    assert_eq!(again.get(&taken.run), None);
    assert_eq!(scene.next_seq(&append).await, 4);
}

#[tokio::test]
async fn a_wait_with_its_reason_gives_the_run_up() {
    let scene = Scene::start().await;
    let mut append = scene.run().await;
    append.change.status = Some(RunStatus::Waiting);
    append.change.wait_reason = Some(WaitReason::Doubt);

    assert!(scene.commit(vec![append.clone()]).await[0].is_ok());

    let next = Append { seq: 4, ..append };
    assert_eq!(scene.commit(vec![next]).await[0], Err(AppendError::Fenced));
}

fn sent(call_id: String) -> EffectChange {
    EffectChange {
        call_id,
        tool_name: "pay".into(),
        class: Effect::Unsafe,
        idempotency_key: sqlx::types::Uuid::nil(),
        timeout_ms: 1,
        state: EffectState::Sent,
        reason: None,
        answered_by: None,
    }
}

#[tokio::test]
async fn an_owner_of_old_is_refused_beside_the_present_one() {
    let scene = Scene::start().await;
    let fresh = scene.run().await;
    let mut stale = Append::new(fresh.tenant, fresh.run, 0, 3);
    stale.set_effect(sent("c".into()));

    let answers = scene.commit(vec![fresh, stale.clone()]).await;

    assert!(answers[0].is_ok());
    assert_eq!(answers[1], Err(AppendError::Fenced));
    let mut admin = scene.test.admin().await;
    let sent: i64 = sqlx::query_scalar("select count(*) from engine.effect where run_id = $1")
        .bind(stale.run)
        .fetch_one(&mut admin)
        .await
        .unwrap();
    assert_eq!(sent, 0);
}

#[tokio::test]
async fn a_name_too_long_for_its_index_fails_alone_and_at_once() {
    let scene = Scene::start().await;
    let (fine, mut bad) = (scene.run().await, scene.run().await);
    let random = (0..400).map(|_| sqlx::types::Uuid::from_u128(rand::random()).to_string());
    bad.set_effect(sent(random.collect()));

    let committing = scene.commit(vec![bad, fine]);
    let answers = tokio::time::timeout(Duration::from_secs(10), committing).await.unwrap();

    assert!(matches!(answers[0], Err(AppendError::Rejected(_))), "{answers:?}");
    assert!(answers[1].is_ok());
}

#[tokio::test]
async fn a_run_that_waits_keeps_its_deadline_and_one_that_ends_leaves_nothing_open() {
    let scene = Scene::start().await;
    let (mut waits, mut ends) = (scene.run().await, scene.run().await);
    let mut admin = scene.test.admin().await;
    let late = "update engine.run_timer set due_at = now() - interval '1 second'";
    sqlx::query(late).execute(&mut admin).await.unwrap();
    let told = "insert into engine.run_signal (run_id, tenant_id, signal)
                select run_id, tenant_id, '{\"signal\":\"cancel\"}' from engine.run";
    sqlx::query(told).execute(&mut admin).await.unwrap();
    waits.change.status = Some(RunStatus::Waiting);
    waits.change.wait_reason = Some(WaitReason::Doubt);
    ends.change.status = Some(RunStatus::Failed);
    ends.change.finish_reason = Some("error");

    for answer in scene.commit(vec![waits.clone(), ends]).await {
        answer.unwrap();
    }

    for open in [
        "select array_agg(run_id) from engine.run_timer where name = 'deadline'",
        "select array_agg(run_id) from engine.run_signal where drained_at is null",
    ] {
        let runs: Vec<RunId> = sqlx::query_scalar(open).fetch_one(&mut admin).await.unwrap();
        assert_eq!(runs, [waits.run], "{open}");
    }
}

#[tokio::test]
async fn a_signal_that_was_committed_after_a_later_one_was_read_stays_open() {
    let scene = Scene::start().await;
    let mut append = scene.run().await;
    let mut admin = scene.test.admin().await;
    let told = "insert into engine.run_signal (run_id, tenant_id, signal)
                select run_id, tenant_id, '{\"signal\":\"resume\"}' from engine.run, generate_series(1, 2)
                returning n";
    let mut numbers: Vec<i64> = sqlx::query_scalar(told).fetch_all(&mut admin).await.unwrap();
    numbers.sort_unstable();
    append.drained.push(numbers[1]);

    scene.commit(vec![append]).await.remove(0).unwrap();

    let open = "select n from engine.run_signal where drained_at is null";
    let left: Vec<i64> = sqlx::query_scalar(open).fetch_all(&mut admin).await.unwrap();
    assert_eq!(left, [numbers[0]]);
}
