//! The gateway: every check of a score update before the queue, the reads, accounts through auth, the page.
//!
//! Knows ports only; `main.rs` and the all-in-one choose what stands behind them.

mod accounts;
mod admission;
mod app;
mod asyncapi;
mod boards;
mod docs_page;
mod grpc;
mod issuer_keys;
mod limits;
mod metrics;
mod openapi;
mod page;
mod paths;
mod reads;
mod receipts;
mod score_update;
mod sessions;
mod standings;
mod start_up;
mod tokens;
mod top_answers;
mod undecided;
mod update_shape;

pub use app::{Gateway, GatewayApp, GatewayError, GatewayPorts, GatewaySettings};
pub use asyncapi::document as asyncapi_document;
pub use grpc::{AdminPorts, GatewayGrpc};
pub use limits::RateLimits;
pub use openapi::document as openapi_document;
pub use paths::configure;
pub use start_up::name_movable_boards;
