//! The service as a whole: built from ports and settings, served on a listener that the caller bound.

use std::net::TcpListener;
use std::sync::Arc;

use common::clock::Clock;
use common::ports::{Accounts, EventBus, IssuerKeys};
use grpc_edge::{GrpcSurface, ReflectionError, RequireServiceKey, ServeError, serve_grpc};
use runtime::access_token::InvalidVerificationKey;
use runtime::secrets::AuthSecrets;
use runtime::settings::{Registration, Settings};
use tokio_util::sync::CancellationToken;

use crate::callers::AuthCallers;
use crate::entropy::{Entropy, SystemEntropy};
use crate::grpc::AuthGrpc;
use crate::password_hasher::HashError;
use crate::service::AuthService;

/// What auth stands on.
#[derive(Clone)]
pub struct AuthPorts {
    /// Accounts and sessions.
    pub accounts: Arc<dyn Accounts>,
    /// Keys of game servers.
    pub issuer_keys: Arc<dyn IssuerKeys>,
    /// Tells nodes of ended sessions.
    pub events: Arc<dyn EventBus>,
    /// The present.
    pub clock: Arc<dyn Clock>,
    /// Identifiers and salts.
    pub entropy: Arc<dyn Entropy>,
}

impl AuthPorts {
    /// With the system's randomness.
    #[must_use]
    pub fn new(
        accounts: Arc<dyn Accounts>,
        issuer_keys: Arc<dyn IssuerKeys>,
        events: Arc<dyn EventBus>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { accounts, issuer_keys, events, clock, entropy: Arc::new(SystemEntropy) }
    }
}

/// How auth is run.
#[derive(Clone, Debug)]
pub struct AuthSettings {
    /// Its keys.
    pub secrets: AuthSecrets,
    /// Passwords that are hashed at a time; each takes a core and 19 MiB for some ten milliseconds.
    pub password_hashes_at_once: usize,
    /// For how long rotated keys are published before they sign. Milliseconds.
    pub rotation_overlap_ms: i64,
    /// Whether strangers may register. An operator's command line always may.
    pub registration: Registration,
}

impl AuthSettings {
    /// With two passwords at a time, open to everybody, and a minute between publishing a key and using it.
    #[must_use]
    pub const fn new(secrets: AuthSecrets) -> Self {
        Self { secrets, password_hashes_at_once: 2, rotation_overlap_ms: 60_000, registration: Registration::Open }
    }

    /// As the process's settings say.
    #[must_use]
    pub fn read(settings: &Settings, secrets: AuthSecrets) -> Self {
        Self {
            rotation_overlap_ms: i64::from(settings.auth.rotation_overlap_s) * 1000,
            registration: settings.auth.registration,
            ..Self::new(secrets)
        }
    }
}

/// Auth cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The active key cannot sign.
    #[error("the active key cannot sign access tokens")]
    Key(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A public key is none.
    #[error(transparent)]
    VerificationKey(#[from] InvalidVerificationKey),
    /// Passwords cannot be hashed.
    #[error(transparent)]
    Passwords(#[from] HashError),
    /// The descriptors of our services cannot be shown.
    #[error(transparent)]
    Reflection(#[from] ReflectionError),
    /// The listener has no address.
    #[error("the gRPC listener has no address")]
    Listener(#[source] std::io::Error),
}

/// Auth, ready to run.
pub struct AuthApp {
    service: Arc<AuthService>,
    surface: GrpcSurface,
    listener: TcpListener,
    port: u16,
}

impl AuthApp {
    /// Puts the service together; nothing is asked of the ports yet.
    ///
    /// # Errors
    /// [`BuildError`].
    pub fn build(ports: AuthPorts, settings: &AuthSettings, listener: TcpListener) -> Result<Self, BuildError> {
        let port = listener.local_addr().map_err(BuildError::Listener)?.port();
        let service = Arc::new(AuthService::new(ports, settings)?);
        let keys = RequireServiceKey::new("auth", Arc::new(AuthCallers::new(&settings.secrets.callers)));
        let surface = AuthGrpc::add_to(GrpcSurface::new()?, Arc::clone(&service), keys);
        Ok(Self { service, surface, listener, port })
    }

    /// The port that it listens on.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The same service without the network, for callers in the process.
    #[must_use]
    pub fn service(&self) -> Arc<AuthService> {
        Arc::clone(&self.service)
    }

    /// Serves other services on the same port.
    #[must_use]
    pub fn also_serving(mut self, add: impl FnOnce(GrpcSurface) -> GrpcSurface) -> Self {
        self.surface = add(self.surface);
        self
    }

    /// Serves until `stop`, then finishes what was accepted.
    ///
    /// # Errors
    /// [`ServeError`].
    pub async fn run(self, stop: CancellationToken) -> Result<(), ServeError> {
        serve_grpc(self.listener, self.surface, stop).await
    }
}
