//! A board as the truth's rows say, sorted here: what everything else is compared with.

use std::collections::HashMap;
use std::fmt;

use common::ids::{BoardId, UserId};
use common::ports::{StoreError, Truth};
use common::standing::{Placement, ScoreRow};
use common::state::{StatePoint, Version};

/// Rows that are read at once.
const PAGE_ROWS: usize = 2_000;

/// It follows the truth: [`Self::follow`] brings it to the head.
pub(super) struct Model<'a> {
    pub(super) truth: &'a dyn Truth,
    pub(super) board: &'a BoardId,
    pub(super) state: StatePoint,
    pub(super) rows: HashMap<UserId, ScoreRow>,
    /// Best first.
    pub(super) order: Vec<UserId>,
}

/// A line in words. The version is left out: not everybody who shows a line knows it.
pub(super) struct Line<'a> {
    pub(super) user: &'a dyn fmt::Display,
    pub(super) name: Option<&'a str>,
    pub(super) score: i64,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.user)?;
        if let Some(name) = self.name {
            write!(f, " ({name})")?;
        }
        write!(f, " with {} points", self.score)
    }
}

impl<'a> Model<'a> {
    /// `None`: no such board.
    pub(super) async fn read(truth: &'a dyn Truth, board: &'a BoardId) -> Result<Option<Self>, StoreError> {
        let Some(head) = truth.rows_above(board, Version::ZERO, 1).await? else { return Ok(None) };
        let state = StatePoint { version: Version::ZERO, ..head.head.state };
        let mut model = Self { truth, board, state, rows: HashMap::new(), order: Vec::new() };
        model.follow().await?;
        Ok(Some(model))
    }

    /// Brings the model to the truth's head. `true` when it moved.
    pub(super) async fn follow(&mut self) -> Result<bool, StoreError> {
        let mut after = self.state.version;
        let stood = self.state.clone();
        loop {
            let Some(page) = self.truth.rows_above(self.board, after, PAGE_ROWS).await? else { break };
            if page.head.state.epoch != self.state.epoch {
                self.rows.clear();
                self.state = StatePoint { version: Version::ZERO, ..page.head.state };
                after = Version::ZERO;
                continue;
            }
            after = page.rows.last().map_or(after, |row| row.version);
            // Rows of a user come again on a later page when the user moved in between: the newest stays.
            self.rows.extend(page.rows.into_iter().map(|row| (row.user, row)));
            if page.complete {
                self.state = page.head.state;
                break;
            }
        }
        let moved = self.state != stood;
        if moved {
            self.sort();
        }
        Ok(moved)
    }

    fn sort(&mut self) {
        let mut keys: Vec<_> = self.rows.values().filter_map(|row| row.key().map(|key| (key, row.user))).collect();
        keys.sort_unstable();
        self.order = keys.into_iter().map(|(_, user)| user).collect();
    }

    /// The line at a position, counted from 0.
    pub(super) fn placement(&self, index: usize) -> Option<Placement> {
        let user = *self.order.get(index)?;
        let row = self.rows.get(&user)?;
        Some(Placement {
            user,
            score: row.score?,
            version: row.version,
            updated_at: row.updated_at,
            rank: index as u64 + 1,
        })
    }

    /// The lines that did not move after `version`, best first: at that version they stood in the same order.
    pub(super) fn settled_at(&self, version: Version) -> impl Iterator<Item = &ScoreRow> {
        self.order.iter().filter_map(|user| self.rows.get(user)).filter(move |row| row.version <= version)
    }
}

/// A placement in words.
pub(super) fn placed(placement: &Placement) -> String {
    let Placement { user, score, version, .. } = placement;
    format!("{} at version {version}", Line { user, name: None, score: *score })
}
