//! What is known of models: how much they read and write, and what else they take.
//!
//! These are defaults, from the providers' own pages ("Models" of OpenAI, "Models overview" of Anthropic, "Gemini
//! models" of Google) at the time of writing. Providers add models and change limits: whoever knows better says so with
//! [`KnownModels::with`]. A server of one's own decides its window when it is started, and a guess would be worth
//! nothing: such models are unknown until they are told.

/// What a model can do.
///
/// ```
/// use agentcore::models::KnownModels;
///
/// let gpt = KnownModels::default().of("gpt-4o").ok_or("unknown")?;
/// assert!(gpt.images && gpt.output_form && !gpt.reasoning);
/// # Ok::<(), &str>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Tokens it reads and writes in one call.
    pub window: u64,
    /// Tokens it writes at most.
    pub most_output: u64,
    pub images: bool,
    pub documents: bool,
    /// Thinks before it answers, or can be asked to.
    pub reasoning: bool,
    /// Can be held to a JSON Schema.
    pub output_form: bool,
}

const fn model(window: u64, most_output: u64) -> Known {
    Known {
        window,
        most_output,
        images: true,
        documents: true,
        reasoning: false,
        output_form: true,
    }
}

const fn thinking(window: u64, most_output: u64) -> Known {
    Known { reasoning: true, ..model(window, most_output) }
}

const fn text_only(window: u64, most_output: u64) -> Known {
    let output_form = false;
    Known { images: false, documents: false, output_form, ..model(window, most_output) }
}

/// By how names begin.
const KNOWN: [(&str, Known); 30] = [
    ("openai:gpt-3.5", text_only(16_385, 4096)),
    ("openai:gpt-4", text_only(8192, 8192)),
    ("openai:gpt-4-turbo", Known { output_form: false, ..model(128_000, 4096) }),
    ("openai:gpt-4o", model(128_000, 16_384)),
    ("openai:gpt-4.1", model(1_047_576, 32_768)),
    ("openai:gpt-5", thinking(400_000, 128_000)),
    ("openai:o1", thinking(200_000, 100_000)),
    ("openai:o3", thinking(200_000, 100_000)),
    ("openai:o4", thinking(200_000, 100_000)),
    ("anthropic:claude", thinking(200_000, 64_000)),
    ("anthropic:claude-3-haiku", Known { output_form: false, ..model(200_000, 4096) }),
    ("anthropic:claude-3-opus", Known { output_form: false, ..model(200_000, 4096) }),
    ("anthropic:claude-3-5", Known { output_form: false, ..model(200_000, 8192) }),
    ("anthropic:claude-3-7", Known { output_form: false, ..thinking(200_000, 64_000) }),
    ("anthropic:claude-sonnet-4-2", Known { output_form: false, ..thinking(200_000, 64_000) }),
    ("anthropic:claude-opus-4-2", Known { output_form: false, ..thinking(200_000, 32_000) }),
    ("anthropic:claude-opus-4-1", Known { output_form: false, ..thinking(200_000, 32_000) }),
    ("anthropic:claude-opus-4-5", thinking(200_000, 64_000)),
    ("anthropic:claude-opus-4-6", thinking(1_000_000, 128_000)),
    ("anthropic:claude-opus-4-7", thinking(1_000_000, 128_000)),
    ("anthropic:claude-sonnet-4-6", thinking(1_000_000, 64_000)),
    ("gemini:gemini-1.5", model(1_048_576, 8192)),
    ("gemini:gemini-1.5-pro", model(2_097_152, 8192)),
    ("gemini:gemini-2.0", model(1_048_576, 8192)),
    ("gemini:gemini-2.5", thinking(1_048_576, 65_536)),
    ("gemini:gemini-3", thinking(1_048_576, 65_536)),
    ("deepseek:deepseek-chat", text_only(128_000, 8192)),
    ("deepseek:deepseek-reasoner", Known { reasoning: true, ..text_only(128_000, 64_000) }),
    ("mistral:mistral-large", model(128_000, 128_000)),
    ("mistral:mistral-small", model(128_000, 128_000)),
];

/// What is known, and what one knows better.
///
/// ```
/// use agentcore::models::{Known, KnownModels};
///
/// let models = KnownModels::default();
/// let gpt = models.of("openai:gpt-4o-mini").ok_or("unknown")?;
/// assert_eq!(gpt.window, 128_000);
///
/// let models = models.with("ollama:qwen3", Known { window: 40_960, most_output: 8192, ..gpt });
/// assert_eq!(models.of("ollama:qwen3:8b").map(|model| model.window), Some(40_960));
/// # Ok::<(), &str>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct KnownModels {
    better: Vec<(String, Known)>,
}

impl KnownModels {
    /// Says what models can do whose names begin so, written as `provider:model`.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, known: Known) -> Self {
        self.better.push((name.into(), known));
        self
    }

    /// What is known of the model `provider:model`; without a colon the provider is `openai`. The longest beginning
    /// counts, and one's own word before what is known here.
    pub fn of(&self, name: &str) -> Option<Known> {
        let (provider, model) = crate::agent::split_model_name(name);
        let full = format!("{provider}:{model}");
        let better = self.better.iter().map(|(name, known)| (name.as_str(), *known));
        longest(&full, better).or_else(|| longest(&full, KNOWN.into_iter()))
    }
}

fn longest<'a>(full: &str, all: impl Iterator<Item = (&'a str, Known)>) -> Option<Known> {
    let fits = all.filter(|(name, _)| full.starts_with(name));
    fits.max_by_key(|(name, _)| name.len()).map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_beginning_counts() {
        let window = |name: &str| KnownModels::default().of(name).map(|known| known.window);
        assert_eq!(window("gpt-4o-mini"), Some(128_000));
        assert_eq!(window("openai:gpt-4-0613"), Some(8192));
        assert_eq!(window("openai:gpt-4.1-nano"), Some(1_047_576));
        assert_eq!(window("anthropic:claude-sonnet-4-6"), Some(1_000_000));
        assert_eq!(window("anthropic:claude-sonnet-4-5-20250929"), Some(200_000));
        assert_eq!(window("ollama:qwen3:8b"), None);
        let old = KnownModels::default().of("anthropic:claude-opus-4-20250514").unwrap();
        assert!(!old.output_form && old.reasoning);
    }

    #[test]
    fn ones_own_word_counts_more() {
        let mine = Known { window: 7, ..model(1, 1) };
        let models = KnownModels::default().with("openai:gpt-4", mine);
        assert_eq!(models.of("openai:gpt-4o"), Some(mine));
    }
}
