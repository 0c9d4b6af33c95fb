//! What every HTTP listener for the public does alike: request ids, one shape for all refusals, spans and durations, security events,
//! security headers, bounded bodies, the rule for origins, and the server itself.

pub mod bearer_token;
pub mod body;
pub mod client_address;
mod cors;
mod framing;
mod guarded_stream;
pub mod origin;
pub mod query;
pub mod refusal;
pub mod request_scope;
pub mod security_event;
pub mod server;
mod shared_stream;
mod upgraded;

pub use refusal::ApiError;
pub use shared_stream::DirectWriter;
