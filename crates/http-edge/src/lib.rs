//! What every HTTP listener for the public does alike: request ids, one shape for all refusals, spans and durations,
//! security headers, bounded bodies, the rule for origins.

pub mod bearer_token;
pub mod body;
pub mod client_address;
mod cors;
pub mod origin;
pub mod query;
pub mod refusal;
pub mod request_scope;

pub use refusal::ApiError;
