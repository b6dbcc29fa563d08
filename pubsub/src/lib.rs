//! Events between services: written with the row they tell of, published by a relay, heard exactly once in effect.
//!
//! A sender calls [`emit`] inside its transaction; its [`Relay`] publishes the outbox row on JetStream. A hearer
//! implements [`Listener`] (or, when hot, [`BatchListener`]) and is run by [`listen`] (or [`listen_batch`]), which
//! remembers each message in the inbox, in the transaction of the effect, before acknowledging it.
//!
//! Invariant: an event is only ever published from an outbox row, so nothing is announced that was not committed.

mod bus;
mod emit;
mod ended;
mod inbox;
mod listener;
pub mod parked;
mod relay;
mod runner;
mod schemas;
pub mod topology;
mod trace;

pub use bus::{Bus, BusError, NatsConfig, consumer_ack_floor, last_sequence};
pub use emit::{OutboxRow, emit, emit_as, insert_rows, message_id};
pub use ended::{Asked, Ended, Hearing};
pub use listener::{BatchListener, DependencyDown, Heard, Listener, RawEvent, Refusal};
pub use relay::{Relay, RelayConfig, RelayHandle, republish, republish_lost};
pub use runner::{
    ListenOptions,
    batch::{listen_batch, listen_batch_with},
    single::{listen, listen_with},
};
pub use schemas::event_schemas;
pub use topology::Consumer;
pub use trace::{heard, set_span_parent, set_traceparent_source, within_trace};
