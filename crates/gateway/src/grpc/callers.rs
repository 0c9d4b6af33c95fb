//! The trusted callers: who may call the gateway by gRPC, and what each may do.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use common::clock::Clock;
use common::error_code::{ErrorCode, Refusal};
use common::rate_limit::Quota;
use grpc_edge::CallerRing;
use http_edge::client_address::counted;
use http_edge::security_event;
use runtime::rate_buckets::RateBuckets;
use runtime::secrets::{GatewayCaller, Permission};
use tonic::Status;
use wire::status_from_refusal;

use super::calls::CallMetrics;

/// A caller that showed its key.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) name: Arc<str>,
    may: BTreeSet<Permission>,
}

impl Caller {
    /// Whether it may.
    ///
    /// # Errors
    /// `forbidden`.
    pub(crate) fn require(&self, permission: Permission) -> Result<(), Refusal> {
        if self.may.contains(&permission) {
            return Ok(());
        }
        let name = permission.as_str();
        Err(Refusal::new(ErrorCode::Forbidden, format!("this service key may not do this: it needs `{name}`")))
    }
}

/// All of them, and the strangers who are none.
pub(crate) struct Callers {
    /// Replaced as a whole when the secrets are read again.
    known: ArcSwap<Vec<GatewayCaller>>,
    /// Refused keys by address, on this node.
    strangers: RateBuckets,
    quota: Quota,
    clock: Arc<dyn Clock>,
    metrics: CallMetrics,
}

impl Callers {
    pub(crate) fn new(callers: Vec<GatewayCaller>, strangers: Quota, clock: Arc<dyn Clock>) -> Self {
        Self {
            known: ArcSwap::from_pointee(callers),
            strangers: RateBuckets::default(),
            quota: strangers,
            clock,
            metrics: CallMetrics::new(),
        }
    }

    pub(crate) fn reload(&self, callers: Vec<GatewayCaller>) {
        self.known.store(Arc::new(callers));
    }
}

impl CallerRing for Callers {
    type Caller = Caller;

    fn find(&self, presented: &str) -> Option<Caller> {
        let callers = self.known.load();
        // All are compared, whichever matches: the time tells nothing.
        let found = callers.iter().fold(None, |found, one| if one.key.matches(presented) { Some(one) } else { found });
        found.map(|one| Caller { name: Arc::from(one.name.as_str()), may: one.may.clone() })
    }

    fn refusal(&self, remote: Option<IpAddr>) -> (Status, bool) {
        let address = remote.map(counted).unwrap_or_default();
        let spent = self.strangers.take(self.quota, &address, self.clock.now()).filter(|allowance| !allowance.allowed);
        let refusal = spent.map_or_else(
            || {
                let message = "this needs a service key that this gateway knows: authorization: Bearer <key>";
                Refusal::new(ErrorCode::Unauthenticated, message)
            },
            Refusal::rate_limited,
        );
        self.metrics.refused(refusal.code);
        (status_from_refusal(&refusal), spent.is_none() && security_event::has_room())
    }
}
