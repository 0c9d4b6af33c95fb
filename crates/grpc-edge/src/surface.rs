//! One gRPC port: the standard services, those that are added, and the bounds of its connections.

use std::net::TcpListener;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

/// The longest that a request may take, unless a service asks for more.
const REQUEST_DEADLINE: Duration = Duration::from_secs(5);
/// Requests of one connection that are worked on at a time, open streams among them.
const REQUESTS_PER_CONNECTION: u32 = 256;
/// How often a silent connection is asked whether it lives, and how long it has to answer.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest that open requests may take after the stop.
const DRAIN_LIMIT: Duration = Duration::from_secs(6);

/// The descriptors of our services cannot be shown.
#[derive(Debug, thiserror::Error)]
#[error("gRPC reflection cannot be set up")]
pub struct ReflectionError(#[source] tonic_reflection::server::Error);

/// The gRPC server ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The listener cannot be used.
    #[error("the gRPC listener cannot be used")]
    Listener(#[source] std::io::Error),
    /// The server failed.
    #[error("the gRPC server ended")]
    Server(#[source] tonic::transport::Error),
}

/// What one gRPC port serves: services are added to it, then it is given to [`serve_grpc`].
pub struct GrpcSurface {
    routes: Routes,
    health: HealthReporter,
    /// Full names, with the package.
    services: Vec<&'static str>,
    deadline: Duration,
}

impl GrpcSurface {
    /// Health and reflection, for everybody; no service yet.
    ///
    /// # Errors
    /// [`ReflectionError`].
    pub fn new() -> Result<Self, ReflectionError> {
        let (health, health_server) = tonic_health::server::health_reporter();
        let described = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(wire::FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        let reflection = described().build_v1().map_err(ReflectionError)?;
        // Tools that are a few years old (grpcurl before 1.8.8) know no other.
        let older = described().build_v1alpha().map_err(ReflectionError)?;
        let routes = Routes::new(health_server).add_service(reflection).add_service(older);
        Ok(Self { routes, health, services: Vec::new(), deadline: REQUEST_DEADLINE })
    }

    /// Adds a service; `name` is its full name, with the package.
    #[must_use]
    pub fn with_routes(mut self, name: &'static str, add: impl FnOnce(Routes) -> Routes) -> Self {
        self.routes = add(self.routes);
        self.services.push(name);
        self
    }

    /// Lets requests take at least so long. What a stream takes after its first answer is not counted.
    #[must_use]
    pub fn allowing(mut self, deadline: Duration) -> Self {
        self.deadline = self.deadline.max(deadline);
        self
    }

    async fn set_health(health: &HealthReporter, services: &[&'static str], status: ServingStatus) {
        for name in services.iter().chain(&[""]) {
            health.set_service_status(name, status).await;
        }
    }
}

/// Serves until `stop`, then says "not serving", takes nothing new and finishes what was accepted, for at most 6 s.
///
/// # Errors
/// [`ServeError`].
pub async fn serve_grpc(
    listener: TcpListener,
    surface: GrpcSurface,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    listener.set_nonblocking(true).map_err(ServeError::Listener)?;
    let listener = tokio::net::TcpListener::from_std(listener).map_err(ServeError::Listener)?;
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true)).with_keepalive(Some(KEEPALIVE_INTERVAL));
    let GrpcSurface { routes, health, services, deadline } = surface;
    GrpcSurface::set_health(&health, &services, ServingStatus::Serving).await;
    let serving = Server::builder()
        .timeout(deadline)
        .concurrency_limit_per_connection(REQUESTS_PER_CONNECTION as usize)
        .max_concurrent_streams(Some(REQUESTS_PER_CONNECTION))
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .add_routes(routes.prepare())
        .serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
    let too_long = async {
        stop.cancelled().await;
        GrpcSurface::set_health(&health, &services, ServingStatus::NotServing).await;
        tokio::time::sleep(DRAIN_LIMIT).await;
    };
    tokio::select! {
        ended = serving => ended.map_err(ServeError::Server),
        () = too_long => {
            tracing::warn!(limit_s = DRAIN_LIMIT.as_secs(), "gRPC calls were still open at the stop and are cut off");
            Ok(())
        }
    }
}
