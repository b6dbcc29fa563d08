//! What every service shares at its edges: configuration, lifecycle, errors on the wire, who is calling, health,
//! telemetry and the way to the other services.
//!
//! Invariant: a handler without a [`Caller`] in its signature is open to the world. Only health, metrics, self-
//! description and webhook intake are.

pub mod caller;
pub mod codes;
pub mod config;
pub mod egress;
pub mod etag;
pub mod extract;
pub mod lifecycle;
mod lingering;
pub mod once;
pub mod peer;
pub mod problem;
pub mod reply;
pub mod scope;
pub mod shell;
pub mod telemetry;
pub mod token;
pub mod trace;
pub mod verifier;

pub use caller::{Actor, Caller, Subject};
pub use codes::Code;
pub use config::{AuthConfig, ConfigProblem, Env, ServiceConfig};
pub use etag::{IfMatch, etag, merge_patch};
pub use extract::{Body, Params, Path};
pub use lifecycle::{Lifecycle, serve};
pub use once::Once;
pub use peer::{Peer, PeerError};
pub use problem::{FieldError, Problem};
pub use reply::{Created, Tagged};
pub use shell::{Probe, shell};
pub use token::{Claims, Minter, SigningKey};
pub use verifier::{PublicKey, Verifier};
