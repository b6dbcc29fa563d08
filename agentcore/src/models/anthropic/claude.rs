//! What a Claude can do, by its version.

/// Major and minor version, as in `claude-sonnet-4-5-20250929` and `claude-3-7-sonnet-latest`. A name without numbers
/// is taken for a new model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(u32, u32);

impl Version {
    pub(super) fn of(model: &str) -> Self {
        // Dates are numbers too, but long ones.
        let number = |part: &str| if part.len() <= 2 { part.parse().ok() } else { None };
        let mut parts = model.split(['-', '.', '@', ':']).skip_while(|part| number(part).is_none());
        match parts.next().and_then(number) {
            Some(major) => Self(major, parts.next().and_then(number).unwrap_or(0)),
            None => Self(u32::MAX, 0),
        }
    }

    /// Decides itself how long to think.
    pub(super) fn thinks_adaptively(self) -> bool {
        self >= Self(4, 6)
    }

    /// Thinks within a budget.
    pub(super) fn thinks_to_budget(self) -> bool {
        self >= Self(3, 7) && !self.thinks_adaptively()
    }

    /// Can be held to a schema.
    pub(super) fn takes_forms(self) -> bool {
        self >= Self(4, 5)
    }

    pub(super) fn takes_temperature(self) -> bool {
        self < Self(4, 7)
    }

    /// The most a reply may be limited to without a limit from the caller.
    pub(super) fn room(self) -> u32 {
        if self < Self(3, 5) { 4096 } else { super::Anthropic::DEFAULT_MAX_TOKENS }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_from_the_name() {
        let table = [
            ("claude-3-opus-20240229", Version(3, 0)),
            ("claude-3-7-sonnet-latest", Version(3, 7)),
            ("claude-sonnet-4-20250514", Version(4, 0)),
            ("claude-haiku-4-5-20251001", Version(4, 5)),
            ("claude-opus-4-7", Version(4, 7)),
            ("claude-sonnet-5", Version(5, 0)),
            ("my-own", Version(u32::MAX, 0)),
        ];
        for (name, version) in table {
            assert_eq!(Version::of(name), version, "{name}");
        }
    }
}
