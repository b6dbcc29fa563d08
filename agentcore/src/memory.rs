//! What an agent keeps between runs: conversations, and facts.

mod tools;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::BoxFuture;
use shared_models::message::Message;

pub(crate) use self::tools::{TOOLS, tools};
use crate::result::BoxError;

/// Keeps conversations and facts. One store holds what one person, or one application, may know: give each their own.
///
/// ```
/// use std::sync::Arc;
/// use agentcore::memory::InMemory;
/// use agentcore::{Agent, RunOptions, run_with};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let memory = Arc::new(InMemory::new());
/// let agent = Agent::builder("friend").model("sim:echo").memory(memory).build()?;
/// run_with(&agent, "Hi", RunOptions::new().conversation("ada")).await?;
/// let second = run_with(&agent, "Me again", RunOptions::new().conversation("ada")).await?;
/// assert_eq!(second.messages.len(), 4, "it knows what was said");
/// # Ok(())
/// # }
/// ```
pub trait Memory: Send + Sync {
    /// What was said in a conversation, oldest first; nothing when it is new.
    fn history<'a>(
        &'a self,
        conversation_id: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Message>, BoxError>>;

    /// Adds what was said.
    fn append<'a>(
        &'a self,
        conversation_id: &'a str,
        messages: &'a [Message],
    ) -> BoxFuture<'a, Result<(), BoxError>>;

    /// Keeps a fact; one that is known already is kept once.
    fn remember<'a>(&'a self, fact: &'a str) -> BoxFuture<'a, Result<(), BoxError>>;

    /// The facts that have to do with `query`, the closest first; the newest ones when nothing is asked.
    fn recall<'a>(
        &'a self,
        query: &'a str,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<String>, BoxError>>;
}

/// Keeps everything for as long as it lives. Facts are found by the words they have in common with the query.
///
/// ```
/// use agentcore::memory::{InMemory, Memory};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let memory = InMemory::new();
/// memory.remember("Ada likes tea.").await?;
/// memory.remember("Bob likes coffee.").await?;
///
/// assert_eq!(memory.recall("What does Ada drink?", 5).await?, ["Ada likes tea."]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Default)]
pub struct InMemory {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    conversations: HashMap<String, Vec<Message>>,
    facts: Vec<String>,
}

impl InMemory {
    pub fn new() -> Self {
        Self::default()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory for InMemory {
    fn history<'a>(
        &'a self,
        conversation_id: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Message>, BoxError>> {
        let found = self.kept().conversations.get(conversation_id).cloned();
        std::future::ready(Ok(found.unwrap_or_default())).boxed()
    }

    fn append<'a>(
        &'a self,
        conversation_id: &'a str,
        messages: &'a [Message],
    ) -> BoxFuture<'a, Result<(), BoxError>> {
        let mut kept = self.kept();
        kept.conversations
            .entry(conversation_id.to_owned())
            .or_default()
            .extend_from_slice(messages);
        std::future::ready(Ok(())).boxed()
    }

    fn remember<'a>(&'a self, fact: &'a str) -> BoxFuture<'a, Result<(), BoxError>> {
        let (fact, mut kept) = (fact.trim(), self.kept());
        if !fact.is_empty() && !kept.facts.iter().any(|known| known == fact) {
            kept.facts.push(fact.to_owned());
        }
        std::future::ready(Ok(())).boxed()
    }

    fn recall<'a>(
        &'a self,
        query: &'a str,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<String>, BoxError>> {
        let found = closest(&self.kept().facts, query, limit);
        std::future::ready(Ok(found)).boxed()
    }
}

fn closest(facts: &[String], query: &str, limit: usize) -> Vec<String> {
    let wanted = words(query);
    let newest_first = facts.iter().rev();
    let mut found: Vec<(usize, &String)> = newest_first
        .map(|fact| (words(fact).intersection(&wanted).count(), fact))
        .filter(|(common, _)| *common > 0 || wanted.is_empty())
        .collect();
    // Stable: of equally close facts the newest stays first.
    found.sort_by_key(|(common, _)| std::cmp::Reverse(*common));
    found.into_iter().take(limit).map(|(_, fact)| fact.clone()).collect()
}

/// Words too short to tell facts apart, such as `a` and `is`, are left out.
const SHORTEST_WORD: usize = 3;

fn words(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| word.chars().count() >= SHORTEST_WORD)
        .map(str::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn facts_are_kept_once_and_the_closest_come_first() {
        let memory = InMemory::new();
        for fact in ["Ada lives in Bern", "Ada likes tea", " Ada likes tea ", "Bob is tall", ""] {
            memory.remember(fact).await.unwrap();
        }

        let found = memory.recall("does ADA like the tea in Bern?", 9).await.unwrap();
        assert_eq!(found, ["Ada likes tea", "Ada lives in Bern"]);
        assert_eq!(memory.recall("Ada", 1).await.unwrap(), ["Ada likes tea"], "the newest");
        assert_eq!(memory.recall("", 2).await.unwrap(), ["Bob is tall", "Ada likes tea"]);
        assert_eq!(memory.recall("physics", 9).await.unwrap(), [""; 0]);
    }

    #[tokio::test]
    async fn conversations_are_kept_apart() {
        let memory = InMemory::new();
        memory.append("one", &[Message::user("hi")]).await.unwrap();
        memory.append("one", &[Message::assistant("hello")]).await.unwrap();

        assert_eq!(memory.history("one").await.unwrap().len(), 2);
        assert_eq!(memory.history("two").await.unwrap(), []);
    }
}
