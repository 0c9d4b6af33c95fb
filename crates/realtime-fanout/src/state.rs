//! What all worker threads share.

use std::sync::Arc;

use board_view::BoardViews;
use common::clock::Clock;
use common::ports::{EventBus, RankIndex};
use runtime::token_gate::TokenGate;
use tokio_util::sync::CancellationToken;

use crate::frames::Goodbye;
use crate::group::Groups;
use crate::metrics::Metrics;
use crate::own_changes::OwnChanges;
use crate::settings::FanoutSettings;
use crate::sockets::Sockets;

/// What a fan-out node asks of the world.
#[derive(Clone)]
pub struct FanoutPorts {
    /// What boards look like; whoever built them runs them.
    pub views: Arc<BoardViews>,
    /// Where own changes are heard of.
    pub events: Arc<dyn EventBus>,
    /// Positions of players whose event brought none.
    pub ranks: Arc<dyn RankIndex>,
    /// Lets tokens in; whoever built it runs it.
    pub tokens: Arc<TokenGate>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
}

/// The state of a fan-out node. [`crate::configure`] serves it where it is app data; [`Self::run`] must be running for
/// private events.
pub struct FanoutState {
    pub(crate) views: Arc<BoardViews>,
    pub(crate) tokens: Arc<TokenGate>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) settings: FanoutSettings,
    pub(crate) sockets: Arc<Sockets>,
    pub(crate) groups: Arc<Groups>,
    pub(crate) own_changes: OwnChanges,
}

impl FanoutState {
    /// A node with nobody on it.
    #[must_use]
    pub fn new(ports: FanoutPorts, settings: FanoutSettings) -> Arc<Self> {
        let FanoutPorts { views, events, ranks, tokens, clock } = ports;
        let metrics = Arc::new(Metrics::new());
        let sockets = Sockets::new(&settings, Arc::clone(&metrics));
        let groups = Arc::new(Groups::new(
            Arc::clone(&views),
            Arc::clone(&clock),
            settings.clone(),
            Arc::clone(&sockets),
            metrics,
            Arc::clone(&ranks),
        ));
        let own_changes = OwnChanges::new(Arc::clone(&views), events, ranks);
        Arc::new(Self { views, tokens, clock, settings, sockets, groups, own_changes })
    }

    /// Follows what private events are made of, until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.own_changes.run() => {}
        }
    }

    /// Sockets that are open now.
    #[must_use]
    pub fn open_sockets(&self) -> usize {
        self.sockets.open()
    }

    /// Says goodbye to every socket and closes it; new ones are refused from now on. Returns when all are closed, at the
    /// latest after the settings' limit. Before the HTTP server is stopped: it would wait for open sockets.
    pub async fn drain(&self) {
        let window_ms = self.sockets.return_window_ms();
        self.groups.goodbye.send_replace(Some(Goodbye { reason: "draining", window_ms }));
        if tokio::time::timeout(self.settings.drain_limit, self.sockets.all_closed()).await.is_err() {
            tracing::warn!(sockets = self.sockets.open(), "sockets that do not take their goodbye are cut off");
        }
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.groups.goodbye.borrow().is_some()
    }
}
