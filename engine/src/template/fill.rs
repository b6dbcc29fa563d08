//! A snapshot as a run of it starts: its instructions, and those of a swarm's members, filled in.

use chrono::Utc;
use servicekit::FieldError;

use super::{Values, is_plain, text_of};
use crate::create::NewRun;
use crate::error::Error;
use crate::snapshot::RunSnapshot;

impl RunSnapshot {
    /// Whether each run of it starts with the same instructions.
    pub(crate) fn is_plain(&self) -> bool {
        is_plain(&self.instructions)
            && self.swarm.iter().flat_map(|swarm| &swarm.members).all(Self::is_plain)
    }

    /// The snapshot with what is known of the run filled in; none when there is nothing to be filled in. To be asked once:
    /// what was filled in is no template any more.
    pub(crate) fn filled(&self, new: &NewRun) -> Result<Option<Self>, Error> {
        if new.variables.is_empty() && self.is_plain() {
            return Ok(None);
        }
        let input = text_of(&new.input);
        let mut filled = self.clone();
        filled.variables.clone_from(&new.variables);
        let mut errors = Vec::new();
        filled.fill(&Values { agent: "", input: &input, new, now: now() }, &mut errors);
        if errors.is_empty() { Ok(Some(filled)) } else { Err(Error::Invalid(errors)) }
    }

    fn fill(&mut self, values: &Values<'_>, errors: &mut Vec<FieldError>) {
        match (Values { agent: &self.agent_name, ..*values }).fill(&self.instructions) {
            Ok(text) => self.instructions = text,
            Err(wrong) => errors.extend(wrong),
        }
        for member in self.swarm.iter_mut().flat_map(|swarm| &mut swarm.members) {
            member.fill(values, errors);
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a model is told what day it is; nothing is decided by it"
)]
fn now() -> chrono::DateTime<Utc> {
    Utc::now()
}
