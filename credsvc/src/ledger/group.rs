//! One transaction of the ledger.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use shared_models::{CredentialId, TenantId};
use sqlx::PgConnection;

use super::{Answer, Waiting, Work};
use crate::{
    Error,
    audit::{self, Entry, Row},
    resolve::{self, Ask},
    store::{
        audit::Head,
        group::{self, Found},
    },
    vault::Vault,
};

/// What somebody who waits is told.
pub(super) type Verdict = Result<Answer, Error>;

/// Why nothing was written.
#[derive(Debug)]
pub(super) enum Failed {
    /// It certainly was not.
    Before(sqlx::Error),
    /// The commit was asked for, and not answered well: it may have been.
    Committing(sqlx::Error),
}

impl From<sqlx::Error> for Failed {
    fn from(error: sqlx::Error) -> Self {
        Self::Before(error)
    }
}

/// Reads, decides and writes down a part of a group, which is sorted by tenant. The verdicts are in its order, and may
/// be told.
pub(super) async fn write(
    connection: &mut PgConnection,
    part: &[Waiting],
    vault: &Vault,
) -> Result<Vec<Verdict>, Failed> {
    let mut tenants: Vec<TenantId> = part.iter().map(|waiting| waiting.tenant).collect();
    tenants.dedup();
    let mut tx = group::begin(connection, &tenants).await?;
    let mut heads = group::lock_heads(&mut tx, &tenants).await?;
    if heads.len() < tenants.len() {
        tx.rollback().await?;
        make_heads(connection, &tenants, &heads).await?;
        tx = group::begin(connection, &tenants).await?;
        heads = group::lock_heads(&mut tx, &tenants).await?;
    }
    // Read behind the locks: whoever took something away before us has committed, and comes before us in the chain.
    let mut found = look(&mut tx, part).await?.into_iter();
    let (mut verdicts, mut rows, mut used) = (Vec::new(), Vec::new(), BTreeSet::new());
    for waiting in part {
        let (verdict, entry) = match &waiting.work {
            Work::Record(entry) => (Ok(Answer::Recorded), Some(entry.clone())),
            Work::Open { asked, key } => {
                let found = found.next().flatten();
                let stale = found.as_ref().is_some_and(|found| is_stale(found, &heads));
                let now = heads.first().map(|(_, head)| head.at).unwrap_or_default();
                let opened = resolve::decide(&asked.ask, found, key.as_ref(), vault, now);
                if stale && matches!(opened, Ok(Answer::Opened(_))) {
                    used.insert((waiting.tenant, asked.ask.credential));
                }
                let entry = told(&asked.entry, &opened);
                (opened, entry)
            }
        };
        if let Some(entry) = entry {
            rows.push((waiting.tenant, chained(&mut heads, waiting.tenant, entry)?));
        }
        verdicts.push(verdict);
    }
    if !rows.is_empty() {
        group::append(&mut tx, &rows, &heads).await?;
    }
    if !used.is_empty() {
        let used: Vec<(TenantId, CredentialId)> = used.into_iter().collect();
        group::mark_used(&mut tx, &used).await?;
    }
    tx.commit().await.map_err(Failed::Committing)?;
    Ok(verdicts)
}

async fn make_heads(
    connection: &mut PgConnection,
    tenants: &[TenantId],
    heads: &[(TenantId, Head)],
) -> Result<(), sqlx::Error> {
    let known = |tenant: &&TenantId| heads.iter().all(|(known, _)| known != *tenant);
    let missing: Vec<TenantId> = tenants.iter().filter(known).copied().collect();
    let hashes: Vec<Vec<u8>> = missing.iter().map(|tenant| audit::genesis(*tenant)).collect();
    let mut tx = group::begin(connection, &missing).await?;
    group::make_heads(&mut tx, &missing, &hashes).await?;
    tx.commit().await
}

async fn look(
    connection: &mut PgConnection,
    part: &[Waiting],
) -> Result<Vec<Option<Found>>, sqlx::Error> {
    let asked: Vec<(TenantId, &Ask)> = part
        .iter()
        .filter_map(|waiting| match &waiting.work {
            Work::Open { asked, .. } => Some((waiting.tenant, &asked.ask)),
            Work::Record(_) => None,
        })
        .collect();
    if asked.is_empty() { Ok(Vec::new()) } else { group::look(connection, &asked).await }
}

/// What the audit is told; nothing when nothing was decided.
fn told(entry: &Entry, opened: &Verdict) -> Option<Entry> {
    match opened {
        Ok(Answer::NeedsKey(_) | Answer::NeedsToken(_)) => None,
        Ok(Answer::Opened(_) | Answer::Recorded) => Some(entry.clone()),
        Err(error) => Some(entry.clone().ended(error)),
    }
}

/// The entry as the next row of its tenant's chain, whose head it moves.
fn chained(
    heads: &mut [(TenantId, Head)],
    tenant: TenantId,
    entry: Entry,
) -> Result<Row, sqlx::Error> {
    let place = heads.binary_search_by_key(&tenant, |(tenant, _)| *tenant);
    let (_, head) = place
        .ok()
        .and_then(|place| heads.get_mut(place))
        .ok_or_else(|| sqlx::Error::Protocol("a tenant's chain has no head".into()))?;
    let row = entry.behind(head)?;
    (head.seq, head.hash) = (row.seq, row.hash.clone());
    Ok(row)
}

/// Its last use is noted to the minute: each use is in the audit anyway.
fn is_stale(found: &Found, heads: &[(TenantId, Head)]) -> bool {
    let now = heads.first().map(|(_, head)| head.at);
    let minute = TimeDelta::minutes(1);
    found.credential.last_used_at.is_none_or(|used| now.is_some_and(|now| now - used > minute))
}
