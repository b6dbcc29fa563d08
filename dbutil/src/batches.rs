//! Much work on old rows, a little at a time.

use std::time::{Duration, Instant};

/// The shortest and the longest rest after a batch.
const REST: (Duration, Duration) = (Duration::from_millis(2), Duration::from_secs(1));

/// Batches until one finds nothing more to do, with a rest after each as long as it took: whatever is forgotten takes half
/// of one connection's time at most. A statement of a batch must be bounded, find its rows by an index, and lock them
/// `for update skip locked`, so that replicas share the work and nobody waits for it. Dropping the work between two
/// statements is safe: what was not committed is due again.
///
/// ```ignore
/// let mut batches = Batches::default();
/// while batches.more().await {
///     let mut tx = db.system("forget old things").await?;
///     batches.did(store::thing::forget(&mut tx).await?);
///     tx.commit().await?;
/// }
/// ```
#[derive(Debug, Default)]
pub struct Batches {
    began: Option<Instant>,
    last: u64,
    all: u64,
}

impl Batches {
    /// Whether there is, or may be, more to do; rests before it says yes again.
    pub async fn more(&mut self) -> bool {
        if let Some(began) = self.began {
            if self.last == 0 {
                return false;
            }
            tokio::time::sleep(began.elapsed().clamp(REST.0, REST.1)).await;
        }
        self.began = Some(Instant::now());
        self.last = 0;
        true
    }

    /// Says how much the batch did.
    pub fn did(&mut self, rows: u64) {
        self.last += rows;
        self.all += rows;
    }

    /// What all batches did together.
    pub fn all(&self) -> u64 {
        self.all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn batches_go_on_until_one_finds_nothing() {
        let mut left = vec![0, 2, 3];
        let mut batches = Batches::default();

        while batches.more().await {
            batches.did(left.pop().unwrap());
        }

        assert_eq!((batches.all(), left.len()), (5, 0));
    }
}
