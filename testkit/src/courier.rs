//! A way on which things are lost, doubled and overtaken, the same each time.

/// Loses 5 of 100 things, doubles 10 and lets 20 be overtaken.
#[derive(Clone, Debug)]
pub struct Courier {
    state: u64,
}

impl Courier {
    /// One of its own kind for each seed.
    pub fn new(seed: u64) -> Self {
        Self { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 }
    }

    /// What arrives of what is sent, in the order in which it does.
    pub fn carry<T: Clone>(&mut self, sent: &[T]) -> Vec<T> {
        let order = self.shuffled(sent.len());
        let share = |percent: usize| (sent.len() * percent).div_ceil(100);
        let (lost, doubled) = (share(5), share(10));
        let mut arriving: Vec<(usize, T)> = Vec::new();
        for (place, thing) in sent.iter().enumerate() {
            let rank = order[place];
            if rank < lost {
                continue;
            }
            // Overtaken by up to ten that were sent later.
            let late = if rank >= sent.len() - share(20) { self.below(10) + 1 } else { 0 };
            arriving.push((2 * (place + late), thing.clone()));
            if rank < lost + doubled {
                arriving.push((2 * (place + self.below(10)) + 1, thing.clone()));
            }
        }
        arriving.sort_by_key(|(at, _)| *at);
        arriving.into_iter().map(|(_, thing)| thing).collect()
    }

    fn shuffled(&mut self, count: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..count).collect();
        for at in (1..count).rev() {
            let other = self.below(at + 1);
            all.swap(at, other);
        }
        all
    }

    fn below(&mut self, most: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        usize::try_from(self.state >> 33).unwrap_or_default() % most.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_lost_doubled_and_overtaken() {
        let sent: Vec<usize> = (0..100).collect();
        let arrived = Courier::new(7).carry(&sent);

        let times = |n: &usize| arrived.iter().filter(|one| *one == n).count();
        assert_eq!(sent.iter().filter(|n| times(n) == 0).count(), 5);
        assert_eq!(sent.iter().filter(|n| times(n) == 2).count(), 10);
        assert!(!arrived.is_sorted());
        assert_eq!(arrived, Courier::new(7).carry(&sent));
    }
}
