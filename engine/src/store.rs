//! All SQL of the engine, one file per table or queue. Nothing here commits.

pub(crate) mod agent;
pub(crate) mod agent_grant;
pub(crate) mod agent_tool;
pub(crate) mod agent_version;
pub(crate) mod child;
pub(crate) mod content;
pub(crate) mod conversation;
pub(crate) mod conversation_message;
pub(crate) mod effect;
pub(crate) mod inbox;
pub(crate) mod journal;
pub(crate) mod mcp_server;
pub(crate) mod memory;
pub(crate) mod model;
pub(crate) mod price;
pub(crate) mod question;
pub(crate) mod queue;
pub(crate) mod retention;
pub(crate) mod run;
pub(crate) mod signal;
pub(crate) mod sweep;
pub(crate) mod tool;
pub(crate) mod tool_import;
pub(crate) mod turn;
pub(crate) mod usage;
pub(crate) mod worker;
