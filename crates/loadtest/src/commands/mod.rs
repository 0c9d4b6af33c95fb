//! What can be asked for on the command line.

pub(crate) mod alone;
pub(crate) mod broadcast;
pub(crate) mod fill;
pub(crate) mod profile;
pub(crate) mod reads;
pub(crate) mod updates;
pub(crate) mod watch;
