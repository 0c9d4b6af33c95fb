//! `scoreboard.v1.ScoreService` and `AdminService`: the gateway for trusted callers.
//!
//! Nothing is decided here that is not decided for HTTP: updates take the same checks and the same queue
//! (`Gateway::check_shape`, `Gateway::carry_out`), reads the same functions.

mod admin;
mod callers;
mod calls;
mod score;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use common::ports::{BoardRules, IssuerKeys};
use grpc_edge::{GrpcSurface, RequireServiceKey};
use runtime::rate_buckets::RateBuckets;
use tokio_util::sync::CancellationToken;
use tonic::server::NamedService;
use tonic::service::interceptor::InterceptedService;
use wire::v1::admin_service_server::AdminServiceServer;
use wire::v1::score_service_server::ScoreServiceServer;

use crate::app::Gateway;
pub(crate) use callers::Callers;
use calls::CallMetrics;
use watch::Watches;

/// The largest request, in bytes: a batch of updates, each with every field at its longest, takes 70 KiB.
const MAX_REQUEST_BYTES: usize = 128 * 1024;

/// What a call may take beside the wait for a decision.
const CALL_DEADLINE: Duration = Duration::from_secs(5);

/// What only the operator's calls need.
#[derive(Clone)]
pub struct AdminPorts {
    /// Changes issuer keys.
    pub issuer_keys: Arc<dyn IssuerKeys>,
    /// Changes boards.
    pub rules: Arc<dyn BoardRules>,
}

/// The gateway as it is called by gRPC.
#[derive(Clone)]
pub struct GatewayGrpc(Arc<Inner>);

struct Inner {
    gateway: Arc<Gateway>,
    admin: AdminPorts,
    metrics: CallMetrics,
    /// Calls are counted per node.
    calls: RateBuckets,
    watches: Watches,
}

impl GatewayGrpc {
    /// The same gateway, by gRPC. Open streams end at `stop`.
    #[must_use]
    pub fn new(gateway: Arc<Gateway>, admin: AdminPorts, stop: CancellationToken) -> Self {
        let watches = Watches::new(stop);
        Self(Arc::new(Inner { gateway, admin, metrics: CallMetrics::new(), calls: RateBuckets::default(), watches }))
    }

    /// Adds `scoreboard.v1.ScoreService` and `AdminService` to a port, for callers that show a service key.
    #[must_use]
    pub fn add_to(self, surface: GrpcSurface) -> GrpcSurface {
        let keys = RequireServiceKey::new("gateway", Arc::clone(&self.0.gateway.callers));
        let score = ScoreServiceServer::new(self.clone()).max_decoding_message_size(MAX_REQUEST_BYTES);
        let admin = AdminServiceServer::new(self.clone()).max_decoding_message_size(MAX_REQUEST_BYTES);
        surface
            // Our own deadline first: it answers in the contract's words.
            .allowing(self.deadline() + Duration::from_secs(1))
            .with_routes(<ScoreServiceServer<Self> as NamedService>::NAME, |routes| {
                routes.add_service(InterceptedService::new(score, keys.clone()))
            })
            .with_routes(<AdminServiceServer<Self> as NamedService>::NAME, |routes| {
                routes.add_service(InterceptedService::new(admin, keys.clone()))
            })
    }

    /// The longest that one call may take; a stream, until its first event.
    fn deadline(&self) -> Duration {
        CALL_DEADLINE + self.0.gateway.settings.submit_wait
    }
}
