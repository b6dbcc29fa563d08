//! The words for agents and tools.

crate::text_enum! {
    /// Who an agent is for.
    pub enum AgentScope {
        /// Its owner.
        User = "user",
        /// The members of one team.
        Team = "team",
    }
}

crate::text_enum! {
    /// Whether an agent may run; only active ones do.
    pub enum AgentStatus {
        /// Runs.
        Active = "active",
        /// Does not run.
        Inactive = "inactive",
        /// Does not run until somebody resumes it.
        Paused = "paused",
        /// Kept for its history.
        Archived = "archived",
    }
}

crate::text_enum! {
    /// What made a version of an agent.
    pub enum VersionChange {
        /// The agent was made.
        Created = "created",
        /// Its fields were edited.
        Edited = "edited",
        /// It was given a tool, or one was taken or changed.
        Tools = "tools",
        /// An earlier version came back.
        Restored = "restored",
    }
}

crate::text_enum! {
    /// What kind of work an agent is made for.
    pub enum AgentType {
        /// Whatever its instructions say.
        Custom = "custom",
        /// Part of the platform.
        System = "system",
        /// One narrow job.
        Specialized = "specialized",
        /// Designs software.
        CodeArchitect = "code_architect",
        /// Looks for weaknesses.
        SecurityExpert = "security_expert",
        /// Makes things fast.
        PerformanceOptimizer = "performance_optimizer",
        /// Reads data.
        DataAnalyst = "data_analyst",
        /// Runs infrastructure.
        InfrastructureManager = "infrastructure_manager",
    }
}

crate::text_enum! {
    /// How a tool does what it does.
    pub enum ToolKind {
        /// One HTTP request.
        Http = "http",
        /// A tool of a Model Context Protocol server.
        Mcp = "mcp",
        /// Something the platform does itself.
        Builtin = "builtin",
        /// Another agent, in a run of its own.
        Agent = "agent",
    }
}
