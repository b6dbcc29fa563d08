//! Trying an agent with its test cases, in words.

crate::text_enum! {
    /// Where the tools of an evaluation's runs have their answers from.
    pub enum EvaluationMode {
        /// As each case says.
        AsSaved = "as_saved",
        /// From the cases, whatever they say; nothing is called.
        Recorded = "recorded",
        /// They are called, whatever the cases say.
        Live = "live",
    }
}

crate::text_enum! {
    /// Where an evaluation stands.
    pub enum EvaluationStatus {
        /// Not every case is done with.
        Running = "running",
        /// Every case is done with.
        Finished = "finished",
        /// Stopped by a person.
        Cancelled = "cancelled",
    }
}

crate::text_enum! {
    /// How far a case of an evaluation has come. The last three never change.
    pub enum CaseState {
        /// Not begun.
        Pending = "pending",
        /// Its run is under way.
        Running = "running",
        /// Its run has ended, and models are asked about it.
        Judging = "judging",
        /// Everything that is expected is so.
        Passed = "passed",
        /// Something that is expected is not so.
        Failed = "failed",
        /// It could not be run, or not be judged.
        Error = "error",
    }
}
