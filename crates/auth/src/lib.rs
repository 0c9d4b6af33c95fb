//! Accounts, sessions, tokens and keys.
//!
//! [`AuthService`] is the port [`common::ports::Authority`] over the stores; [`AuthApp`] serves it by gRPC to
//! callers that show a service key. Both are the same object in one process and in four.
//!
//! ```text
//! register ─▶ password rules ─▶ argon2id (bounded) ─▶ account
//! login    ─▶ argon2id, for unknown names too ─▶ session ─▶ access token (JWT, 1 h) + refresh token + signing key
//! refresh  ─▶ HMAC of the token ─▶ rotation in one transaction ─▶ successor, or the session ends
//! logout   ─▶ the store first, then the event to every node
//! ```

mod access_tokens;
mod action_signing;
mod app;
mod callers;
mod common_passwords;
mod entropy;
mod grpc;
mod metrics;
mod password_hasher;
mod password_rules;
mod refresh_tokens;
mod revocation_memory;
mod service;
mod signing_keys;
mod store_calls;

pub use action_signing::{ActionSignature, ActionToSign};
pub use app::{AuthApp, AuthPorts, AuthSettings, BuildError};
pub use callers::{AuthCallers, Caller};
pub use entropy::{Entropy, SystemEntropy};
pub use grpc::AuthGrpc;
pub use grpc_edge::ServeError;
pub use password_hasher::{HashError, PasswordHasher};
pub use service::{AuthService, REFRESH_TOKEN_LIFETIME_S, ROTATION_GRACE_MS};
