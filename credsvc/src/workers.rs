//! What runs besides requests, one file per loop.

pub(crate) mod connections;
pub(crate) mod keys;
pub(crate) mod leavers;
pub(crate) mod shred;
