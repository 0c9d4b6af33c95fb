//! Access tokens at the door, and the masters that the keys of sessions are derived from.

use std::ops::Deref;
use std::sync::Arc;

use arc_swap::ArcSwap;
use runtime::secrets::SigningMasters;

pub(crate) use http_edge::bearer_token::bearer;

/// The gateway's door: tokens, and what signatures are verified with.
pub(crate) struct TokenGate {
    gate: Arc<runtime::token_gate::TokenGate>,
    masters: ArcSwap<SigningMasters>,
}

impl TokenGate {
    pub(crate) fn new(gate: Arc<runtime::token_gate::TokenGate>, masters: SigningMasters) -> Self {
        Self { gate, masters: ArcSwap::from_pointee(masters) }
    }

    /// For others of the same process.
    pub(crate) fn shared(&self) -> Arc<runtime::token_gate::TokenGate> {
        Arc::clone(&self.gate)
    }

    /// What keys of sessions are derived from now.
    pub(crate) fn signing_masters(&self) -> Arc<SigningMasters> {
        self.masters.load_full()
    }

    /// Takes rotated masters over, and has auth's keys read at once.
    pub(crate) fn reload(&self, masters: SigningMasters) {
        self.masters.store(Arc::new(masters));
        self.gate.reread_keys();
    }
}

impl Deref for TokenGate {
    type Target = runtime::token_gate::TokenGate;

    fn deref(&self) -> &Self::Target {
        &self.gate
    }
}
