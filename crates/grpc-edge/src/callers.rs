//! Who calls, shown by a service key.

use std::net::IpAddr;
use std::sync::Arc;

use tonic::service::Interceptor;
use tonic::{Request, Status};

/// Knows callers by their service keys.
pub trait CallerRing: Send + Sync + 'static {
    /// What a service is told of whoever called.
    type Caller: Clone + Send + Sync + 'static;

    /// Whose key this is. Takes the same time whichever key matches, and when none does.
    fn find(&self, presented: &str) -> Option<Self::Caller>;

    /// What somebody without a known key is told, and whether the log is: it need not hear of the same stranger for ever.
    fn refusal(&self, remote: Option<IpAddr>) -> (Status, bool);
}

/// Lets requests in that carry `authorization: Bearer <service key>`, and puts the caller among their extensions.
pub struct RequireServiceKey<R> {
    /// Whose door it is, for the log.
    service: &'static str,
    ring: Arc<R>,
}

impl<R> Clone for RequireServiceKey<R> {
    fn clone(&self) -> Self {
        Self { service: self.service, ring: Arc::clone(&self.ring) }
    }
}

impl<R: CallerRing> RequireServiceKey<R> {
    /// The door of `service`, for the callers of `ring`.
    #[must_use]
    pub const fn new(service: &'static str, ring: Arc<R>) -> Self {
        Self { service, ring }
    }
}

impl<R: CallerRing> Interceptor for RequireServiceKey<R> {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let header = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        let Some(caller) = header.and_then(|h| h.strip_prefix("Bearer ")).and_then(|key| self.ring.find(key)) else {
            let remote = request.remote_addr();
            let (status, logged) = self.ring.refusal(remote.map(|remote| remote.ip()));
            if logged {
                tracing::warn!(
                    security_event = "service_key_refused",
                    service = self.service,
                    ?remote,
                    "a gRPC call without a known service key"
                );
            }
            return Err(status);
        };
        request.extensions_mut().insert(caller);
        Ok(request)
    }
}
