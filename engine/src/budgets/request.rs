//! What a call may take, and what of that is affordable.

use super::Quantity;
use super::book::Line;

/// What a call may take of one quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Want {
    pub(crate) quantity: Quantity,
    /// Whatever it says.
    pub(crate) base: i64,
    /// For a million tokens of output.
    pub(crate) rate: i64,
    /// How much less will do.
    pub(crate) slack: i64,
}

/// What a call may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) wants: Vec<Want>,
    /// Tokens of output that it would like to have.
    pub(crate) output: u32,
    /// Fewer are of no use.
    pub(crate) least: u32,
}

const UNIT: i128 = 1_000_000;

impl Want {
    /// So much, whatever the output.
    pub(crate) fn fixed(quantity: Quantity, base: i64) -> Self {
        Self { quantity, base, rate: 0, slack: 0 }
    }

    /// What it comes to with so many tokens of output.
    pub(crate) fn need(&self, output: u32) -> i64 {
        let written = i128::from(self.rate) * i128::from(output);
        let all = i128::from(self.base) + (written + UNIT - 1) / UNIT;
        i64::try_from(all).unwrap_or(i64::MAX)
    }

    /// The most tokens of output for which there is room; none when there is not enough for anything.
    fn affordable(&self, room: i64) -> Option<u32> {
        let rest = i128::from(room) + i128::from(self.slack) - i128::from(self.base);
        if rest < 0 {
            return None;
        }
        if self.rate <= 0 {
            return Some(u32::MAX);
        }
        Some(u32::try_from(rest * UNIT / i128::from(self.rate)).unwrap_or(u32::MAX))
    }
}

impl Request {
    /// Of things without output.
    pub(crate) fn fixed(wants: Vec<Want>) -> Self {
        Self { wants, output: 0, least: 0 }
    }

    fn want(&self, quantity: Quantity) -> Option<&Want> {
        self.wants.iter().find(|want| want.quantity == quantity)
    }

    /// What it takes in the worst case; none when it takes nothing of that.
    pub(crate) fn need(&self, quantity: Quantity) -> Option<i64> {
        self.want(quantity).map(|want| want.need(self.output))
    }

    /// How many tokens of output all lines can afford, or the lines that cannot afford enough, each with what would do.
    pub(super) fn fit<'l>(
        &self,
        lines: impl Iterator<Item = &'l Line>,
    ) -> Result<u32, Vec<(&'l Line, i64)>> {
        let (mut output, mut short) = (self.output, Vec::new());
        for line in lines {
            let Some(want) = self.want(line.key.quantity) else { continue };
            match want.affordable(line.room()) {
                Some(most) if most >= self.least => output = output.min(most),
                _ => short.push((line, want.need(self.least) - want.slack)),
            }
        }
        if short.is_empty() { Ok(output) } else { Err(short) }
    }

    /// What is set aside on a line for so much output.
    pub(super) fn share(&self, line: &Line, output: u32) -> Option<i64> {
        let want = self.want(line.key.quantity)?;
        let need = want.need(output);
        Some(if want.slack > 0 { need.min(line.room()) } else { need })
    }
}

#[cfg(test)]
mod tests {
    use shared_models::BudgetId;

    use super::*;
    use crate::budgets::Key;

    fn line(quantity: Quantity, cap: i64) -> Line {
        Line { cap, ..Line::empty(Key { budget: BudgetId::mint(), quantity }) }
    }

    #[test]
    fn the_output_is_what_the_tightest_line_affords() {
        let request = Request {
            wants: vec![
                Want { quantity: Quantity::Cost, base: 100, rate: 10_000_000, slack: 0 },
                Want { quantity: Quantity::Tokens, base: 40, rate: 1_000_000, slack: 0 },
            ],
            output: 1000,
            least: 16,
        };
        let fit = |cost, tokens| {
            let lines = [line(Quantity::Cost, cost), line(Quantity::Tokens, tokens)];
            request.fit(lines.iter()).map_err(|short| short.len())
        };

        assert_eq!(request.need(Quantity::Cost), Some(10_100));
        assert_eq!(fit(1_000_000, 1_000_000), Ok(1000));
        assert_eq!(fit(5_100, 1_000_000), Ok(500));
        assert_eq!(fit(5_100, 340), Ok(300));
        assert_eq!(fit(259, 1_000_000), Err(1), "15 tokens are too few");
        assert_eq!(fit(260, 1_000_000), Ok(16));
        assert_eq!(fit(99, 39), Err(2));
    }

    #[test]
    fn what_may_be_less_takes_what_there_is() {
        let want = Want { quantity: Quantity::ActiveMs, base: 30_000, rate: 0, slack: 29_000 };
        let request = Request::fixed(vec![want]);
        let share = |cap| {
            let line = line(Quantity::ActiveMs, cap);
            let fits = request.fit(std::iter::once(&line)).is_ok();
            fits.then(|| request.share(&line, 0)).flatten()
        };

        assert_eq!(share(999), None);
        assert_eq!(share(1_000), Some(1_000));
        assert_eq!(share(90_000), Some(30_000));
    }
}
