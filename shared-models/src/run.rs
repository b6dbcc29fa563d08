//! The life of a run, in words.

crate::text_enum! {
    /// Where a run stands. The last four are terminal and never change.
    pub enum RunStatus {
        /// Waiting for a worker.
        Queued = "queued",
        /// Owned by a worker.
        Running = "running",
        /// Waiting for something outside, holding no task and no connection.
        Waiting = "waiting",
        /// Stopped by a person until resumed.
        Paused = "paused",
        /// Ended with an output.
        Succeeded = "succeeded",
        /// Ended with an error.
        Failed = "failed",
        /// Ended by a person.
        Cancelled = "cancelled",
        /// Ended by its deadline.
        TimedOut = "timed_out",
    }
}

impl RunStatus {
    /// Whether the run has ended.
    pub const fn terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled | Self::TimedOut)
    }
}

crate::text_enum! {
    /// Whether what a run does reaches the world.
    #[derive(Default)]
    pub enum RunMode {
        /// It does.
        #[default]
        Live = "live",
        /// Models are asked, but calls of tools are answered from another run's journal.
        Dry = "dry",
    }
}

impl RunMode {
    /// Whether what the run does reaches the world.
    pub fn is_live(&self) -> bool {
        *self == Self::Live
    }
}

crate::text_enum! {
    /// What a run comes of.
    pub enum RunOrigin {
        /// Somebody has asked for it.
        Request = "request",
        /// A trigger has fired.
        Trigger = "trigger",
        /// Another run works by it.
        Run = "run",
        /// It does another run over.
        Retry = "retry",
        /// It goes on from another run.
        Fork = "fork",
        /// It tries an agent with a test case, judges that, or works for a run that does.
        Evaluation = "evaluation",
    }
}

crate::text_enum! {
    /// What a waiting run waits for.
    pub enum WaitReason {
        /// A person's yes or no.
        Approval = "approval",
        /// Something a person says.
        Input = "input",
        /// A child run.
        Child = "child",
        /// A moment.
        Timer = "timer",
        /// A credential to be connected again.
        Auth = "auth",
        /// A raised budget.
        Budget = "budget",
        /// An outside system's answer.
        Callback = "callback",
        /// Somebody who knows whether an unsafe call happened.
        Doubt = "doubt",
        /// Its turn in a conversation.
        Turn = "turn",
    }
}

crate::text_enum! {
    /// What becomes of a run for a conversation in which another one is under way.
    pub enum WhenBusy {
        /// It waits for its turn.
        Enqueue = "enqueue",
        /// It is refused.
        Reject = "reject",
        /// What is under way is cancelled; what was said so far stays.
        Interrupt = "interrupt",
        /// What is under way is cancelled and forgotten, as if it had never been said.
        Rollback = "rollback",
    }
}

crate::text_enum! {
    /// Where in a run a hook is called.
    pub enum HookPoint {
        /// The run begins.
        Start = "start",
        /// The run has succeeded.
        Finished = "finished",
        /// The run has failed, be it by another hook.
        Error = "error",
        /// The model is about to be asked.
        PreLlmCall = "pre_llm_call",
        /// The model has answered.
        PostLlmCall = "post_llm_call",
        /// A tool is about to be called.
        PreToolCall = "pre_tool_call",
        /// A tool has answered, or failed.
        PostToolCall = "post_tool_call",
    }
}

crate::text_enum! {
    /// Why a conversation came to its end.
    pub enum FinishReason {
        /// The model answered without asking for a tool.
        Stop = "stop",
        /// The steps were used up; the output is the last thing the model said.
        MaxSteps = "max_steps",
        /// The model asked for the same calls again and again.
        LoopDetected = "loop_detected",
        /// A model call failed for good.
        Error = "error",
        /// Somebody stopped it.
        Cancelled = "cancelled",
    }
}
