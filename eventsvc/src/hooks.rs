//! What listens at a hook, kept in memory for a moment so that a delivery costs no look-up.
//!
//! An edit through this process is seen at once; one through another replica within the cache's life.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use dbutil::Db;
use moka::future::Cache;
use servicekit::Problem;
use shared_models::{
    CredentialId, SourceId, TenantId, TriggerId, UserId, events::trigger::Target,
    text_enum::UnknownWord,
};
use uuid::Uuid;

use crate::{
    filter::Filter,
    input::Template,
    intake::{Origin, System},
    listening::GmailOptions,
    options::WebhookOptions,
    store::{self, hook::Row},
};

/// How long a configuration is believed.
const LIFE: Duration = Duration::from_secs(2);

/// A source and the triggers that listen to it.
#[derive(Clone, Debug)]
pub(crate) struct Hook {
    /// Whose it is.
    pub tenant_id: TenantId,
    /// The source.
    pub source_id: SourceId,
    /// What delivers there.
    pub system: System,
    /// The credential deliveries are verified with.
    pub credential_id: Option<CredentialId>,
    /// How to verify, and what a repetition is.
    pub options: WebhookOptions,
    /// What tells a repetition, where the options say it by an expression that can still be read.
    pub repetition: Option<Filter>,
    /// Who listens, oldest first; never empty.
    pub triggers: Vec<HookTrigger>,
}

impl Hook {
    /// Where its deliveries come from.
    pub(crate) fn origin(&self) -> Origin {
        let (tenant_id, source_id) = (self.tenant_id, self.source_id);
        Origin { tenant_id, source_id, system: self.system }
    }
}

/// A trigger as intake sees it.
#[derive(Clone, Debug)]
pub(crate) struct HookTrigger {
    /// Which.
    pub trigger_id: TriggerId,
    /// What it starts.
    pub target: Target,
    /// Whose it is.
    pub owner_id: UserId,
    /// Its filter, or why a stored one cannot be read any more.
    pub filter: Option<Result<Filter, String>>,
    /// What the agent is given in place of the payload, or why a stored template cannot be read any more.
    pub input: Option<Result<Template, String>>,
    /// Whether what it fires is queued first.
    pub queued: bool,
    /// How long a sender waits for the result, if it does.
    pub respond: Option<Duration>,
    /// Whether it fires.
    pub active: bool,
    /// Whether what it fires is held back.
    pub paused: bool,
}

/// The hooks in use. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Hooks {
    db: Db,
    /// By how many edits there had been, too: what was asked for before one, and is answered after it, is not for who asks then.
    cache: Cache<(u64, Uuid), Option<Arc<Hook>>>,
    edits: Arc<AtomicU64>,
}

impl Hooks {
    /// An empty cache.
    pub(crate) fn new(db: Db) -> Self {
        let cache = Cache::builder().max_capacity(50_000).time_to_live(LIFE).build();
        Self { db, cache, edits: Arc::default() }
    }

    /// What listens at the hook with this id, of a trigger or of a source.
    pub(crate) async fn find(&self, id: Uuid) -> Result<Option<Arc<Hook>>, Problem> {
        let key = (self.edits.load(Ordering::Acquire), id);
        self.cache.try_get_with(key, self.load(id)).await.map_err(|error| {
            tracing::warn!(%error, "a hook could not be looked up");
            Problem::new(&servicekit::codes::UNAVAILABLE, "the hook cannot be looked up right now")
                .retry_after(1)
        })
    }

    /// Forgets everything: an edit may change what several hooks share, and reading back is cheap.
    pub(crate) fn forget(&self) {
        self.edits.fetch_add(1, Ordering::AcqRel);
        self.cache.invalidate_all();
    }

    async fn load(&self, id: Uuid) -> Result<Option<Arc<Hook>>, sqlx::Error> {
        let mut tx = self.db.system("which tenant a hook belongs to").await?;
        let rows = store::hook::find(&mut tx, id).await?;
        tx.commit().await?;
        hook(rows).map(|hook| hook.map(Arc::new))
    }
}

fn hook(rows: Vec<Row>) -> Result<Option<Hook>, sqlx::Error> {
    let Some(first) = rows.first() else { return Ok(None) };
    let Some(options) = options(first)? else { return Ok(None) };
    let told_by = options.dedupe.as_ref().and_then(|dedupe| dedupe.expression.as_deref());
    Ok(Some(Hook {
        repetition: told_by.and_then(|source| Filter::compile(source).ok()),
        tenant_id: first.tenant_id,
        source_id: first.source_id,
        system: first.system.parse().map_err(decode)?,
        credential_id: first.credential_id,
        options,
        triggers: rows.into_iter().map(trigger).collect::<Result<_, _>>()?,
    }))
}

/// How a source's deliveries are taken; none where nothing is delivered.
fn options(row: &Row) -> Result<Option<WebhookOptions>, sqlx::Error> {
    let wrong = |error: serde_json::Error| sqlx::Error::Decode(error.into());
    let value = row.source_options.clone();
    if row.system == System::Gmail.as_str() {
        let gmail: GmailOptions = serde_json::from_value(value).map_err(wrong)?;
        let pushed = |verify| WebhookOptions { verify, ..WebhookOptions::default() };
        return Ok(gmail.verify().map(pushed));
    }
    serde_json::from_value(value).map(Some).map_err(wrong)
}

/// One stored trigger by itself, and where what it is tried out with comes from.
pub(crate) fn one(row: Row) -> Result<(Origin, HookTrigger), sqlx::Error> {
    let (tenant_id, source_id) = (row.tenant_id, row.source_id);
    let system = row.system.parse().map_err(decode)?;
    Ok((Origin { tenant_id, source_id, system }, trigger(row)?))
}

/// A stored trigger as intake sees it.
pub(crate) fn trigger(row: Row) -> Result<HookTrigger, sqlx::Error> {
    Ok(HookTrigger {
        trigger_id: row.trigger_id,
        target: target(&row.target_kind, row.target_id)?,
        owner_id: row.owner_id,
        filter: row.filter.as_deref().map(Filter::compile),
        input: row.input.as_ref().map(Template::compile),
        queued: row.flow.is_some(),
        respond: row
            .respond_seconds
            .and_then(|seconds| u64::try_from(seconds).ok())
            .map(Duration::from_secs),
        active: row.active,
        paused: row.paused,
    })
}

/// A stored target.
pub(crate) fn target(kind: &str, id: Option<Uuid>) -> Result<Target, sqlx::Error> {
    Ok(Target { kind: kind.parse().map_err(decode)?, id })
}

fn decode(error: UnknownWord) -> sqlx::Error {
    sqlx::Error::Decode(error.into())
}
