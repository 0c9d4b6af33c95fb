//! What leaves the process: protobuf messages and public JSON shapes, with their conversions from and to the domain.
//!
//! Wire types stay apart from domain types: a conversion *into* the domain checks everything and can fail, one
//! *out of* it cannot.

mod admin;
pub mod auth;
mod damaged;
mod event_message;
pub mod frames;
pub mod json;
mod queue_message;
pub mod score;
mod status;

/// The generated types of `proto/scoreboard/v1`.
#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)]
pub mod v1 {
    tonic::include_proto!("scoreboard.v1");
}

/// The compiled descriptors, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/scoreboard.v1.bin"));

pub use damaged::DamagedMessage;
pub use event_message::{decode_event, encode_event};
pub use queue_message::{
    DecodedBatch, MAX_UPDATES_PER_MESSAGE, decode_answers, decode_updates, encode_answers, encode_updates,
};
pub use status::{refusal_from_status, status_from_refusal};
