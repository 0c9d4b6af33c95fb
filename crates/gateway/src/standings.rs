//! Reads of positions: the index where it is as new as anything that this node has seen, else the truth.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use board_view::BoardViews;
use common::ids::{BoardId, UserId};
use common::ports::{Profiles, RankIndex, StoreError, Truth};
use common::standing::{Entry, Neighborhood, Placement, TopList};
use common::state::{StatePoint, Version};
use parking_lot::Mutex;

use crate::app::GatewayPorts;

/// A sick index must not make a read slow: the truth answers then.
const INDEX_LIMIT: Duration = Duration::from_millis(250);

/// What answered a read.
pub(crate) struct Read<T> {
    pub(crate) value: T,
    pub(crate) source: &'static str,
}

/// Positions of players, with their names.
pub(crate) struct Standings {
    truth: Arc<dyn Truth>,
    ranks: Arc<dyn RankIndex>,
    profiles: Arc<dyn Profiles>,
    views: Arc<BoardViews>,
    /// The newest version that this node has promised to somebody: what its reads must show. One entry a board.
    promised: Mutex<HashMap<BoardId, Version>>,
}

impl Standings {
    pub(crate) fn new(ports: &GatewayPorts) -> Self {
        Self {
            truth: Arc::clone(&ports.truth),
            ranks: Arc::clone(&ports.ranks),
            profiles: Arc::clone(&ports.profiles),
            views: Arc::clone(&ports.views),
            promised: Mutex::default(),
        }
    }

    /// An answer promised this version.
    pub(crate) fn saw(&self, board: &BoardId, version: Version) {
        let mut promised = self.promised.lock();
        let newest = promised.entry(board.clone()).or_default();
        *newest = version.max(*newest);
    }

    /// Whether a state is as new as what this node has promised and seen.
    fn is_current(&self, board: &BoardId, state: &StatePoint) -> bool {
        let view = self.views.view(board);
        let seen = view.as_ref().map(|view| view.state());
        if seen.is_some_and(|seen| seen.epoch != state.epoch) {
            return false;
        }
        let promised = self.promised.lock().get(board).copied().unwrap_or_default();
        // After a restored backup versions start lower; what was promised in the old epoch binds nobody.
        let promised = if seen.is_some() { promised } else { Version::ZERO };
        state.version >= promised.max(seen.map_or(Version::ZERO, |seen| seen.version))
    }

    /// The best of a board, when this node has no view of its own yet.
    pub(crate) async fn top(&self, board: &BoardId, limit: usize) -> Result<Option<Read<TopList>>, StoreError> {
        if let Some((state, placements)) = self.ask_index(board, self.ranks.top(board, limit)).await
            && self.is_current(board, &state)
            && let Some(entries) = self.named(&placements).await
        {
            return Ok(Some(Read { value: TopList { state, entries }, source: "index" }));
        }
        Ok(self.truth.top(board, limit).await?.map(|value| Read { value, source: "truth" }))
    }

    /// A player's line with `around` lines on each side. `None`: no score.
    pub(crate) async fn neighborhood(
        &self,
        board: &BoardId,
        user: UserId,
        around: usize,
    ) -> Result<Option<Read<Neighborhood<Entry>>>, StoreError> {
        if let Some((state, found)) = self.ask_index(board, self.ranks.neighborhood(board, user, around)).await
            && self.is_current(board, &state)
        {
            let Some(found) = found else { return Ok(None) };
            if let Some(lines) = self.named(&found.lines).await {
                let value = Neighborhood { state: found.state, lines, own: found.own };
                return Ok(Some(Read { value, source: "index" }));
            }
        }
        let found = self.truth.neighborhood(board, user, around).await?;
        Ok(found.map(|value| Read { value, source: "truth" }))
    }

    /// A player's position, where somebody can say it at once.
    pub(crate) async fn rank(&self, board: &BoardId, user: UserId) -> Option<u64> {
        let (state, found) = self.ask_index(board, self.ranks.neighborhood(board, user, 0)).await?;
        let found = found.filter(|_| self.is_current(board, &state))?;
        found.lines.get(found.own).map(|line| line.rank)
    }

    async fn ask_index<T>(
        &self,
        board: &BoardId,
        ask: impl Future<Output = Result<Option<T>, StoreError>>,
    ) -> Option<T> {
        match tokio::time::timeout(INDEX_LIMIT, ask).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                tracing::warn!(%board, error = %runtime::exit::causes(&error), "the rank index did not answer; asking the truth");
                None
            }
            Err(_) => {
                tracing::warn!(%board, "the rank index did not answer in time; asking the truth");
                None
            }
        }
    }

    /// The lines with their names; `None` when a name is not to be had, which the truth then has.
    async fn named(&self, placements: &[Placement]) -> Option<Vec<Entry>> {
        let users: Vec<UserId> = placements.iter().map(|placement| placement.user).collect();
        let names = match self.profiles.usernames(&users).await {
            Ok(names) => names,
            Err(error) => {
                tracing::warn!(error = %runtime::exit::causes(&error), "names cannot be read");
                return None;
            }
        };
        placements
            .iter()
            .map(|placement| names.get(&placement.user).map(|name| placement.with_username(Arc::clone(name))))
            .collect()
    }
}
