//! The fan-out node as a service of its own, with its listener.

use std::net::TcpListener;
use std::sync::Arc;

use actix_web::middleware::from_fn;
use actix_web::{App, web};
use http_edge::request_scope::request_scope;
use http_edge::server::{ArrivalLimits, ServerOptions, serve};
use tokio_util::sync::CancellationToken;

use crate::listener::tune_listener;
use crate::state::FanoutState;

/// Bytes that a connection collects before it writes; more would only be older states in front of newer ones.
const WRITE_BUFFER: usize = 4 * 1024;

/// After the goodbyes nothing is left that could take long.
const SERVER_STOP_S: u64 = 2;

/// The stream could not go on serving.
#[derive(Debug, thiserror::Error)]
#[error("the stream's listener cannot be served")]
pub struct FanoutError(#[from] std::io::Error);

/// The service.
pub struct FanoutApp {
    state: Arc<FanoutState>,
    listener: TcpListener,
}

impl FanoutApp {
    /// Builds the service on a bound listener (port 0 in tests). The state's views are run by whoever built them.
    #[must_use]
    pub const fn build(state: Arc<FanoutState>, listener: TcpListener) -> Self {
        Self { state, listener }
    }

    /// The port that it listens on.
    ///
    /// # Errors
    /// When the listener has none.
    pub fn port(&self) -> std::io::Result<u16> {
        Ok(self.listener.local_addr()?.port())
    }

    /// Serves until `stop`, then says goodbye to every socket and ends.
    ///
    /// # Errors
    /// [`FanoutError`].
    pub async fn run(self, stop: CancellationToken) -> Result<(), FanoutError> {
        if let Err(error) = tune_listener(&self.listener) {
            tracing::warn!(%error, "the kernel does not bound what slow readers hold");
        }
        let state = web::Data::from(Arc::clone(&self.state));
        let origins = web::Data::new(self.state.settings.allowed_origins.clone());
        let proxies = web::Data::new(self.state.settings.trusted_proxies.clone());
        let options = ServerOptions {
            drain_s: SERVER_STOP_S,
            write_buffer: WRITE_BUFFER,
            arrival: ArrivalLimits::default(),
            half_closed: false,
            upgrades: true,
        };
        let server = serve(self.listener, options, move || {
            App::new()
                .app_data(state.clone())
                .app_data(origins.clone())
                .app_data(proxies.clone())
                .wrap(from_fn(request_scope))
                .configure(crate::handshake::configure)
        })?;
        let handle = server.handle();
        let stopper = async {
            stop.cancelled().await;
            self.state.drain().await;
            handle.stop(true).await;
        };
        let (served, ()) = tokio::join!(server, stopper);
        Ok(served?)
    }
}
