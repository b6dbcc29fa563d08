//! Whether a chain is as it was written.

use dbutil::Db;
use shared_models::TenantId;

use super::{genesis, hash};
use crate::store;

/// What a verification found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every row is as it was written, and none is missing.
    Intact {
        /// How many rows there are.
        rows: i64,
    },
    /// Somebody changed the chain.
    Broken {
        /// The first row that is not right.
        seq: i64,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// Verifies a tenant's chain from its first row to its head. Rows added meanwhile are left for the next time.
pub async fn verify(db: &Db, tenant: TenantId) -> Result<Verdict, sqlx::Error> {
    const PAGE: i64 = 1000;
    let mut tx = db.begin(tenant).await?;
    let Some(ends) = store::audit::ends(&mut tx).await? else {
        return Ok(Verdict::Intact { rows: 0 });
    };
    let (mut seq, mut last) = (0, genesis(tenant));
    while seq < ends.seq {
        let rows = store::audit::list_after(&mut tx, seq, PAGE.min(ends.seq - seq)).await?;
        if rows.is_empty() {
            return Ok(Verdict::Broken { seq: seq + 1, why: "the row is missing" });
        }
        for row in rows {
            if row.seq != seq + 1 {
                return Ok(Verdict::Broken { seq: seq + 1, why: "the row is missing" });
            }
            seq = row.seq;
            if row.prev_hash != last {
                return Ok(Verdict::Broken {
                    seq,
                    why: "the row does not follow the one before it",
                });
            }
            if hash(&row)? != row.hash {
                return Ok(Verdict::Broken { seq, why: "the row was changed" });
            }
            last = row.hash;
        }
    }
    if ends.last_row > ends.seq {
        return Ok(Verdict::Broken { seq: ends.seq + 1, why: "the row is behind the head" });
    }
    if seq > 0 && last != ends.hash {
        return Ok(Verdict::Broken { seq, why: "the head does not match the last row" });
    }
    Ok(Verdict::Intact { rows: seq })
}

/// Verifies every tenant's chain; what `switchyard audit verify` says.
pub async fn verify_all(db: &Db) -> Result<Vec<(TenantId, Verdict)>, sqlx::Error> {
    let mut tx = db.system("verify the audit of every tenant").await?;
    let tenants = store::audit::tenants(&mut tx).await?;
    drop(tx);
    let mut found = Vec::with_capacity(tenants.len());
    for tenant in tenants {
        found.push((tenant, verify(db, tenant).await?));
    }
    Ok(found)
}
