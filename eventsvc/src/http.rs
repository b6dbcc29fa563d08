//! Handlers, one file per verb on a noun, each with its bodies.

pub(crate) mod create_trigger;
pub(crate) mod delete_trigger;
pub(crate) mod get_delivery;
pub(crate) mod get_listener;
pub(crate) mod get_payload;
pub(crate) mod get_trigger;
pub(crate) mod list_deliveries;
pub(crate) mod list_fires;
pub(crate) mod list_parked;
pub(crate) mod list_recoveries;
pub(crate) mod list_triggers;
pub(crate) mod preview_timer;
pub(crate) mod receive_hook;
pub(crate) mod replay_deliveries;
pub(crate) mod replay_delivery;
pub(crate) mod replay_parked;
pub(crate) mod rotate_secret;
pub(crate) mod switch_system;
pub(crate) mod test_trigger;
pub(crate) mod update_trigger;
