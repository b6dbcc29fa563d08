//! Which call of a run: the path of the conversation that makes it, and the id it has there.
//!
//! Both together are the key under which the ledger, signals and child runs know a call. An agent's own run has one
//! conversation, and there the key is the call's id alone.

use agentcore::swarm::Path;

use crate::committer::printable;

/// Neither a member's name nor a call's id has a control character.
const BETWEEN: char = '\u{1f}';

/// The key of a call in the conversation at `path`.
pub(crate) fn key(path: &str, call_id: &str) -> String {
    if path.is_empty() {
        return printable(call_id);
    }
    printable(&format!("{path}{BETWEEN}{call_id}"))
}

/// The path and the call's own id.
pub(crate) fn split(key: &str) -> (&str, &str) {
    key.split_once(BETWEEN).unwrap_or(("", key))
}

/// A path as people see it: its names from the outermost inwards.
pub(crate) fn names(path: &str) -> Vec<String> {
    path.split('/').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// A path as it is stored, of names that people have sent.
pub(crate) fn path_of(names: &[String]) -> String {
    names.iter().collect::<Path>().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_told_apart_again_and_an_agents_own_call_goes_by_its_id() {
        let key = key("lead/writer#2", "call/1");

        assert_eq!(split(&key), ("lead/writer#2", "call/1"));
        assert_eq!(names("lead/writer#2"), ["lead", "writer#2"]);
        assert_eq!(path_of(&names("lead/writer#2")), "lead/writer#2");
        assert_eq!(super::key("", "call_1"), "call_1");
        assert_eq!(split("call_1"), ("", "call_1"));
    }
}
