//! The services, by name.

crate::text_enum! {
    /// A service: the name of its schema, its NATS user and the `svc` of its tokens.
    pub enum Service {
        /// Identity and the public edge.
        Gateway = "gateway",
        /// Credentials.
        Credsvc = "credsvc",
        /// Triggers, intake and the delivery ledger.
        Eventsvc = "eventsvc",
        /// Agents and runs.
        Engine = "engine",
    }
}

impl Service {
    /// The service's name, as in `switchyard serve <name>`.
    pub const fn name(self) -> &'static str {
        self.as_str()
    }

    /// The port a service listens on unless configured otherwise.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Gateway => 8080,
            Self::Credsvc => 8081,
            Self::Eventsvc => 8082,
            Self::Engine => 8083,
        }
    }
}
