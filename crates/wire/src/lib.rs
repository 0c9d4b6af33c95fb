//! What leaves the process: protobuf messages and public JSON shapes, with their conversions from and to the domain.
//!
//! Wire types stay apart from domain types: a conversion *into* the domain checks everything and can fail, one
//! *out of* it cannot.

mod conversion;
pub mod json;

/// The generated types of `proto/scoreboard/v1`.
#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)]
pub mod v1 {
    tonic::include_proto!("scoreboard.v1");
}

/// The compiled descriptors, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/scoreboard.v1.bin"));

pub use conversion::{DamagedMessage, refusal_from_status, status_from_refusal};
