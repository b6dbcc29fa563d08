//! What a model call consumed.

use std::ops::AddAssign;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Tokens in disjoint buckets: each token is counted once, so that a cost is the sum of bucket times
/// price. Providers that report subsets (cached within input) are split before they get here.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, JsonSchema,
)]
#[serde(default)]
pub struct Usage {
    /// Input the provider had not cached.
    pub input_tokens: u64,
    pub cache_read_tokens: u64,
    pub cache_write_tokens: u64,
    /// The visible answer, without reasoning.
    pub output_tokens: u64,
    pub reasoning_tokens: u64,
}

impl Usage {
    pub fn total(&self) -> u64 {
        self.all_input().saturating_add(self.all_output())
    }

    /// Everything that went in, cached or not.
    pub fn all_input(&self) -> u64 {
        self.input_tokens
            .saturating_add(self.cache_read_tokens)
            .saturating_add(self.cache_write_tokens)
    }

    /// Everything that came out, shown or not.
    pub fn all_output(&self) -> u64 {
        self.output_tokens.saturating_add(self.reasoning_tokens)
    }
}

impl AddAssign for Usage {
    /// Saturates: the numbers come from outside, and a wrong one must not stop a run.
    fn add_assign(&mut self, more: Self) {
        self.input_tokens = self.input_tokens.saturating_add(more.input_tokens);
        self.cache_read_tokens = self.cache_read_tokens.saturating_add(more.cache_read_tokens);
        self.cache_write_tokens = self.cache_write_tokens.saturating_add(more.cache_write_tokens);
        self.output_tokens = self.output_tokens.saturating_add(more.output_tokens);
        self.reasoning_tokens = self.reasoning_tokens.saturating_add(more.reasoning_tokens);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_adds_up_bucket_by_bucket() {
        let mut sum = Usage { input_tokens: 10, output_tokens: 5, ..Usage::default() };

        sum += Usage {
            input_tokens: 1,
            cache_read_tokens: 2,
            cache_write_tokens: 3,
            output_tokens: 4,
            reasoning_tokens: u64::MAX,
        };

        assert_eq!((sum.input_tokens, sum.output_tokens, sum.all_input()), (11, 9, 16));
        assert_eq!(sum.total(), u64::MAX);
    }
}
