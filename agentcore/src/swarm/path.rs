//! Whose conversation it is, in a tree of them.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// From the outermost member inwards: `["lead", "researcher"]`. The root of the tree is empty. The second time a member
/// works at the same place it is `researcher#2`.
///
/// As text it is `lead/researcher`; no name of a member has a `/` or a `#`.
///
/// ```
/// use agentcore::swarm::Path;
///
/// let path: Path = "lead/researcher#2".parse()?;
/// assert_eq!((path.name(), path.segments().len()), (Some("researcher"), 2));
/// assert_eq!(Path::root().child("lead").to_string(), "lead");
/// # Ok::<(), std::convert::Infallible>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Path(Vec<String>);

impl Path {
    pub fn root() -> Self {
        Self::default()
    }

    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    pub fn segments(&self) -> &[String] {
        &self.0
    }

    /// The member's name, whichever time it works; none at the root.
    pub fn name(&self) -> Option<&str> {
        self.0.last().map(|segment| member_of(segment))
    }

    #[must_use]
    pub fn child(&self, segment: impl Into<String>) -> Self {
        let mut segments = self.0.clone();
        segments.push(segment.into());
        Self(segments)
    }
}

impl<S: Into<String>> FromIterator<S> for Path {
    fn from_iter<I: IntoIterator<Item = S>>(segments: I) -> Self {
        Self(segments.into_iter().map(Into::into).collect())
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("/"))
    }
}

impl FromStr for Path {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(text.split('/').filter(|segment| !segment.is_empty()).collect())
    }
}

/// The name of the member a segment stands for.
pub(super) fn member_of(segment: &str) -> &str {
    segment.split_once('#').map_or(segment, |(name, _)| name)
}

/// The segment of the `time`-th time, from 1, that a member works.
pub(super) fn segment(member: &str, time: usize) -> String {
    if time <= 1 { member.to_owned() } else { format!("{member}#{time}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_its_names_and_reads_back_from_its_text() {
        let path = Path::root().child("lead").child(segment("Zürich bot", 2));

        assert_eq!(path.to_string(), "lead/Zürich bot#2");
        assert_eq!("lead/Zürich bot#2".parse(), Ok(path.clone()));
        assert_eq!("".parse(), Ok(Path::root()));
        assert_eq!(path.name(), Some("Zürich bot"));
        assert_eq!(serde_json::to_string(&path).unwrap(), r#"["lead","Zürich bot#2"]"#);
    }
}
