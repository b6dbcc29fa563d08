//! What calling a tool does to the world, and how far one such call has come.

crate::text_enum! {
    /// What a repeat of a call would do. Decides retries, approval defaults and crash recovery.
    pub enum Effect {
        /// Changes nothing; repeated freely.
        Read = "read",
        /// Twice is as good as once.
        Idempotent = "idempotent",
        /// Twice is as good as once, when both carry the same idempotency key.
        Keyed = "keyed",
        /// A repeat would happen again: never repeated without someone who knows.
        Unsafe = "unsafe",
    }
}

crate::text_enum! {
    /// How far a tool call has come.
    pub enum EffectState {
        /// Written down, not yet begun.
        Intended = "intended",
        /// Begun: from here on it may have happened.
        Sent = "sent",
        /// It happened.
        Done = "done",
        /// Known not to have happened, or to have failed.
        Failed = "failed",
        /// Nobody here knows whether it happened.
        InDoubt = "in_doubt",
        /// It was in doubt, and someone who knows said what became of it.
        Answered = "answered",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back_and_is_the_one_on_the_wire() {
        for effect in Effect::ALL {
            assert_eq!(effect.as_str().parse().as_ref(), Ok(effect));
            assert_eq!(serde_json::to_value(effect).unwrap(), effect.as_str());
        }
        for state in EffectState::ALL {
            assert_eq!(state.as_str().parse().as_ref(), Ok(state));
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
        assert!("READ".parse::<Effect>().is_err());
    }
}
