//! All SQL, one file per table. Functions take the transaction, never open or commit one.

#![allow(clippy::struct_field_names, reason = "a row's fields are named as its columns are")]

pub(crate) mod account;
pub(crate) mod delivery;
pub(crate) mod firing;
pub(crate) mod flow;
pub(crate) mod group;
pub(crate) mod heard;
pub(crate) mod held;
pub(crate) mod hook;
pub(crate) mod lease;
pub(crate) mod recovery;
pub(crate) mod retention;
pub(crate) mod source;
pub(crate) mod stat;
pub(crate) mod step;
pub(crate) mod system_pause;
pub(crate) mod timer;
pub(crate) mod trigger;
pub(crate) mod unheard;
