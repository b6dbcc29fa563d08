//! The providers this crate brings along.

pub mod openai;
pub mod sim;
