//! The commands, one a file.

pub(crate) mod audit;
pub(crate) mod board;
pub(crate) mod caller_key;
pub(crate) mod check_config;
pub(crate) mod dead_letters;
mod given_secret;
pub(crate) mod issuer_key;
pub(crate) mod key;
pub(crate) mod migrate;
pub(crate) mod openapi;
pub(crate) mod rebuild_ranks;
pub(crate) mod review;
pub(crate) mod serve;
pub(crate) mod submit;
pub(crate) mod user;
pub(crate) mod verify;
pub(crate) mod watch;
