//! Who works after whom: `research >> draft >> (facts | style) >> publish`.
//!
//! `flow := stage (">>" stage)*`, `stage := name | "(" name ("|" name)* ")"`. The members of a stage work at the same
//! time on the same input. A name is any text without control characters and without `>`, `|`, `(`, `)`, `/` and `#`;
//! spaces around it do not count.

mod parse;

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

crate::text_enum! {
    /// How the members of a swarm work together.
    pub enum SwarmMode {
        /// In the order of the flow: each output is the next input.
        Workflow = "workflow",
        /// One at a time: whoever has control may pass it on.
        Handoff = "handoff",
        /// The first leads and delegates to the others.
        Team = "team",
    }
}

/// The order in which members work. No name is in it twice, and no stage is empty.
///
/// In JSON it is its text. The text it is shown as reads back as an equal flow.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    stages: Vec<Vec<String>>,
}

/// What is wrong with the text of a flow, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {kind}")]
pub struct FlowError {
    /// The character it begins with, counted from 1.
    pub column: usize,
    pub kind: FlowErrorKind,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlowErrorKind {
    #[error("there is no member `{0}`")]
    UnknownName(String),
    #[error("`{0}` is twice in one stage")]
    Duplicate(String),
    /// It would go back to a member that has worked already.
    #[error("`{0}` comes a second time: a flow has no way back")]
    Cycle(String),
    #[error("a stage is empty")]
    EmptyStage,
    #[error("{0}")]
    Syntax(String),
}

impl Flow {
    /// Reads a flow of the members `is_member` knows.
    pub fn parse_for(text: &str, is_member: impl Fn(&str) -> bool) -> Result<Self, FlowError> {
        let stages = parse::stages(text)?;
        let unknown = stages.iter().flatten().find(|named| !is_member(&named.name));
        if let Some(named) = unknown {
            let kind = FlowErrorKind::UnknownName(named.name.clone());
            return Err(FlowError { column: named.column, kind });
        }
        let names = |stage: Vec<parse::Named>| {
            stage.into_iter().map(|named| named.name).collect::<Vec<_>>()
        };
        Ok(Self { stages: stages.into_iter().map(names).collect() })
    }

    /// One after the other: what a list without a flow means.
    pub fn in_order<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, FlowError> {
        let names: Vec<&str> = names.into_iter().collect();
        Self::of(&names, &names.join(" >> "))
    }

    /// All at once.
    pub fn all_at_once<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, FlowError> {
        let names: Vec<&str> = names.into_iter().collect();
        Self::of(&names, &format!("({})", names.join(" | ")))
    }

    fn of(names: &[&str], text: &str) -> Result<Self, FlowError> {
        if let Some(name) = names.iter().find(|name| !is_member_name(name)) {
            let kind = FlowErrorKind::Syntax(format!("`{name}` is no name for a member"));
            return Err(FlowError { column: 1, kind });
        }
        text.parse()
    }

    /// The stages in order, each with the names in it; at least one, none of them empty.
    pub fn stages(&self) -> &[Vec<String>] {
        &self.stages
    }

    /// Every name, in the order it is written.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.stages.iter().flatten().map(String::as_str)
    }
}

/// Whether a flow can name a member like this.
pub fn is_member_name(name: &str) -> bool {
    !name.is_empty() && name.trim() == name && !name.contains(parse::is_reserved)
}

impl FromStr for Flow {
    type Err = FlowError;

    /// Reads a flow whose members are whoever it names.
    fn from_str(text: &str) -> Result<Self, FlowError> {
        Self::parse_for(text, |_| true)
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, stage) in self.stages.iter().enumerate() {
            if index > 0 {
                f.write_str(" >> ")?;
            }
            match stage.as_slice() {
                [name] => f.write_str(name)?,
                names => write!(f, "({})", names.join(" | "))?,
            }
        }
        Ok(())
    }
}

impl Serialize for Flow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Flow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Flow {
    fn schema_name() -> Cow<'static, str> {
        "Flow".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "Who works after whom: `a >> (b | c) >> d`." })
    }
}

impl utoipa::PartialSchema for Flow {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        String::schema()
    }
}

impl utoipa::ToSchema for Flow {}

#[cfg(test)]
#[path = "flow_tests.rs"]
mod tests;
