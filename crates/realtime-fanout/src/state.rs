//! What all worker threads share.

use std::sync::Arc;

use board_view::BoardViews;
use common::clock::Clock;

use crate::frames::Goodbye;
use crate::group::Groups;
use crate::metrics::Metrics;
use crate::settings::FanoutSettings;
use crate::sockets::Sockets;

/// Milliseconds of the window in which clients come back, for each of them: 500 a second.
const WINDOW_MS_PER_SOCKET: u64 = 2;

/// The shortest and the longest window.
const WINDOW_MS: std::ops::RangeInclusive<u64> = 1_000..=60_000;

/// The state of a fan-out node. [`crate::configure`] serves it where it is app data.
pub struct FanoutState {
    pub(crate) views: Arc<BoardViews>,
    pub(crate) settings: FanoutSettings,
    pub(crate) sockets: Arc<Sockets>,
    pub(crate) groups: Arc<Groups>,
}

impl FanoutState {
    /// A node that shows `views`; whoever built them runs them.
    #[must_use]
    pub fn new(views: Arc<BoardViews>, settings: FanoutSettings, clock: Arc<dyn Clock>) -> Arc<Self> {
        let metrics = Arc::new(Metrics::new());
        let sockets = Sockets::new(settings.sockets_per_address, Arc::clone(&metrics));
        let groups = Arc::new(Groups::new(Arc::clone(&views), clock, settings.clone(), metrics));
        Arc::new(Self { views, settings, sockets, groups })
    }

    /// Sockets that are open now.
    #[must_use]
    pub fn open_sockets(&self) -> usize {
        self.sockets.open()
    }

    /// Says goodbye to every socket and closes it; new ones are refused from now on. Returns when all are closed, at the
    /// latest after the settings' limit. Before the HTTP server is stopped: it would wait for open sockets.
    pub async fn drain(&self) {
        let window = (self.sockets.open() as u64).saturating_mul(WINDOW_MS_PER_SOCKET);
        let window_ms = window.clamp(*WINDOW_MS.start(), *WINDOW_MS.end());
        self.groups.goodbye.send_replace(Some(Goodbye { reason: "draining", window_ms }));
        if tokio::time::timeout(self.settings.drain_limit, self.sockets.all_closed()).await.is_err() {
            tracing::warn!(sockets = self.sockets.open(), "sockets that do not take their goodbye are cut off");
        }
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.groups.goodbye.borrow().is_some()
    }
}
