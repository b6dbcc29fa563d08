//! What agents know in common: named values, in levels.
//!
//! A fork sees everything its parent knows and keeps what it writes to itself until it is merged back. Children that work
//! at the same time therefore never see each other's half-done work.
//!
//! ```
//! use agentcore::Context;
//!
//! let parent = Context::new();
//! parent.set("city", "Bern");
//! let child = parent.fork();
//! child.set("weather", "sunny");
//!
//! assert_eq!(child.get("city"), Some("Bern".into()));
//! assert_eq!(parent.get("weather"), None);
//!
//! child.merge();
//! assert_eq!(parent.get("weather"), Some("sunny".into()));
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::de::DeserializeOwned;
use serde_json::Value;

/// A level of named values; clones are the same level.
///
/// ```
/// use agentcore::Context;
///
/// let context = Context::new();
/// context.set("retries", 3);
/// assert_eq!(context.get_as::<u32>("retries"), Some(3));
/// ```
#[derive(Clone, Default)]
pub struct Context {
    level: Arc<Level>,
}

#[derive(Default)]
struct Level {
    parent: Option<Context>,
    /// What was written here. `None` hides a value of the parent.
    written: Mutex<BTreeMap<String, Written>>,
}

struct Written {
    value: Option<Value>,
    /// What the parent said when this level wrote the name first, to tell a conflict from a change.
    before: Option<Value>,
}

/// A name that both the child and the parent changed after the fork. The child's value has replaced the parent's.
///
/// ```
/// use agentcore::Context;
///
/// let parent = Context::new();
/// let child = parent.fork();
/// child.set("city", "Bern");
/// parent.set("city", "Basel");
///
/// let conflict = &child.merge()[0];
/// assert_eq!((conflict.replaced.clone(), conflict.kept.clone()), (Some("Basel".into()), Some("Bern".into())));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Conflict {
    pub name: String,
    /// What the parent said at the merge, now replaced.
    pub replaced: Option<Value>,
    /// What it says now.
    pub kept: Option<Value>,
}

impl Context {
    pub fn new() -> Self {
        Self::default()
    }

    /// The nearest value of that name.
    pub fn get(&self, name: &str) -> Option<Value> {
        let written = self.written().get(name).map(|written| written.value.clone());
        written.unwrap_or_else(|| self.level.parent.as_ref()?.get(name))
    }

    /// The nearest value of that name as a type of one's own; none when it is missing or does not fit.
    pub fn get_as<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_value(self.get(name)?).ok()
    }

    /// Writes to this level; the parent does not see it before the merge.
    pub fn set(&self, name: impl Into<String>, value: impl Into<Value>) {
        self.write(name.into(), Some(value.into()));
    }

    /// Forgets a value here, the parent's as well.
    pub fn remove(&self, name: &str) {
        self.write(name.to_owned(), None);
    }

    /// Everything this level sees.
    pub fn all(&self) -> BTreeMap<String, Value> {
        let mut all = self.level.parent.as_ref().map(Self::all).unwrap_or_default();
        for (name, written) in &*self.written() {
            match &written.value {
                Some(value) => all.insert(name.clone(), value.clone()),
                None => all.remove(name),
            };
        }
        all
    }

    /// The names written at this level, in order.
    pub fn changed(&self) -> Vec<String> {
        self.written().keys().cloned().collect()
    }

    /// A level below this one.
    #[must_use]
    pub fn fork(&self) -> Self {
        let level = Level { parent: Some(self.clone()), written: Mutex::default() };
        Self { level: Arc::new(level) }
    }

    /// Writes everything of this level to its parent, and empties it. The child wins: where the parent has changed a name
    /// since the child first wrote it, the child's value replaces it and the name is returned as a conflict. Of several
    /// children the one merged last wins, so merge them in an order that does not depend on who was faster. Nothing
    /// happens to a level without a parent.
    pub fn merge(&self) -> Vec<Conflict> {
        let Some(parent) = &self.level.parent else { return Vec::new() };
        let written = std::mem::take(&mut *self.written());
        let mut conflicts = Vec::new();
        for (name, Written { value, before }) in written {
            let now = parent.get(&name);
            if now != before && now != value {
                conflicts.push(Conflict { name: name.clone(), replaced: now, kept: value.clone() });
            }
            parent.write(name, value);
        }
        conflicts
    }

    fn write(&self, name: String, value: Option<Value>) {
        let before = self.level.parent.as_ref().and_then(|parent| parent.get(&name));
        let mut written = self.written();
        let entry = written.entry(name).or_insert(Written { value: None, before });
        entry.value = value;
    }

    fn written(&self) -> MutexGuard<'_, BTreeMap<String, Written>> {
        self.level.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Context").field(&self.all()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fork_sees_its_parent_and_keeps_its_own_changes_until_the_merge() {
        let root = Context::new();
        root.set("a", 1);
        root.set("b", 1);
        let child = root.fork().fork();
        child.set("a", 2);
        child.remove("b");

        assert_eq!((child.get("a"), child.get("b")), (Some(2.into()), None));
        assert_eq!((root.get("a"), root.get("b")), (Some(1.into()), Some(1.into())));
        assert_eq!(child.changed(), ["a", "b"]);

        assert_eq!(child.merge(), []);
        assert_eq!(child.changed(), [""; 0]);
        assert_eq!(child.get("a"), Some(2.into()), "read from the parent now");
        assert_eq!(root.get("a"), Some(1.into()), "one level at a time");
    }

    #[test]
    fn the_child_merged_last_wins_and_the_conflict_is_reported() {
        let parent = Context::new();
        parent.set("x", "old");
        let (one, two, same) = (parent.fork(), parent.fork(), parent.fork());
        one.set("x", "one");
        two.set("x", "two");
        same.set("x", "two");

        assert_eq!(one.merge(), []);
        let conflict =
            Conflict { name: "x".into(), replaced: Some("one".into()), kept: Some("two".into()) };
        assert_eq!(two.merge(), [conflict]);
        assert_eq!(same.merge(), [], "the same value is no conflict");
        assert_eq!(parent.get_as::<String>("x").as_deref(), Some("two"));
    }

    #[test]
    fn a_value_that_does_not_fit_the_type_is_none() {
        let context = Context::new();
        context.set("n", "seven");

        assert_eq!(context.get_as::<u32>("n"), None);
        assert_eq!(context.merge(), []);
        assert_eq!(context.all().len(), 1, "a merge without a parent loses nothing");
    }
}
