//! Whole-system tests: the real binary, the real servers, the public address. See `tests/it`.
//!
//! `Laptop` is `switchyard up` as a newcomer starts it; `Fleet` runs each service as a process of its own, to be killed and
//! started again one by one; `VaultStage` is credsvc alone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]

pub mod chaos;
mod connect;
mod demo;
mod fleet;
mod laptop;
mod process;
mod sign;
mod stream;
mod vault;

pub use connect::Connector;
pub use demo::{Scene, script};
pub use fleet::Fleet;
pub use laptop::Laptop;
pub use process::Process;
pub use sign::{Signed, sign};
pub use stream::{Event, follow, follow_from};
pub use vault::VaultStage;
