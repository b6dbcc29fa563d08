//! What is heard of other services, one file for each event.

pub(crate) mod member_removed;
