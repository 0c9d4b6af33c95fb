//! The trusted callers: who may call the gateway by gRPC, and what each may do.

use std::collections::BTreeSet;
use std::sync::Arc;

use arc_swap::ArcSwap;
use common::error_code::{ErrorCode, Refusal};
use grpc_edge::CallerRing;
use runtime::secrets::{GatewayCaller, Permission};
use tonic::Status;
use wire::status_from_refusal;

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

/// All of them; replaced as a whole when the secrets are read again.
pub(crate) struct Callers(ArcSwap<Vec<GatewayCaller>>);

impl Callers {
    pub(crate) fn new(callers: Vec<GatewayCaller>) -> Self {
        Self(ArcSwap::from_pointee(callers))
    }

    pub(crate) fn reload(&self, callers: Vec<GatewayCaller>) {
        self.0.store(Arc::new(callers));
    }
}

impl CallerRing for Callers {
    type Caller = Caller;

    fn find(&self, presented: &str) -> Option<Caller> {
        let callers = self.0.load();
        // All are compared, whichever matches: the time tells nothing.
        let found = callers.iter().fold(None, |found, one| if one.key.matches(presented) { Some(one) } else { found });
        found.map(|one| Caller { name: Arc::from(one.name.as_str()), may: one.may.clone() })
    }

    fn refusal(&self) -> Status {
        let message = "this needs a service key that this gateway knows: authorization: Bearer <key>";
        status_from_refusal(&Refusal::new(ErrorCode::Unauthenticated, message))
    }
}
