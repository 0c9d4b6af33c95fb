//! The fan-out node as a service of its own, with its listener.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::middleware::from_fn;
use actix_web::{App, HttpServer, web};
use http_edge::request_scope::request_scope;
use tokio_util::sync::CancellationToken;

use crate::listener::tune_listener;
use crate::state::FanoutState;

/// How long a request's head may take to arrive.
const REQUEST_HEAD_LIMIT: Duration = Duration::from_secs(15);

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
        let server = HttpServer::new(move || {
            App::new()
                .app_data(state.clone())
                .app_data(origins.clone())
                .wrap(from_fn(request_scope))
                .configure(crate::handshake::configure)
        })
        .client_request_timeout(REQUEST_HEAD_LIMIT)
        .h1_write_buffer_size(WRITE_BUFFER)
        // Whoever closes its side has left: else a stream that says nothing would keep its place.
        .h1_allow_half_closed(false)
        .disable_signals()
        .shutdown_timeout(SERVER_STOP_S)
        .listen(self.listener)?
        .run();
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
