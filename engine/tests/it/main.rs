#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]

mod agents;
mod approval_model;
mod approval_runs;
mod approvals;
mod artifacts;
mod buses;
mod callbacks;
mod cancel;
mod chat;
mod claims;
mod control;
mod conversations;
mod costs;
mod crash;
mod crash_journal;
mod crash_matrix;
mod crash_points;
mod cut_streams;
mod deadlines;
mod doubt;
mod egress;
mod events;
mod firings;
mod grants;
mod harness;
mod hooks;
mod hostile;
mod http_tool;
mod leases;
mod loops;
mod mcp_stub;
mod memories;
mod models;
mod openai;
mod outputs;
mod pauses;
mod pausing;
mod pausing_many;
mod plans;
mod prices;
mod reconnect;
mod retention;
mod runs;
mod scene;
mod smtp_stub;
mod swarm_hooks;
mod swarm_modes;
mod swarm_runs;
mod swarm_streams;
mod swarms;
mod templates;
mod tools;
mod tools_agent;
mod tools_builtin;
mod tools_hostile;
mod tools_import;
mod tools_mcp;
mod tools_wait;
mod versions;
mod waiting_runs;
mod walk;
mod webhooks;
mod window;
