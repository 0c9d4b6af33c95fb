//! The visible top of a board, moved by changes: what a gateway and a fan-out node keep in memory.

use std::sync::Arc;

use crate::standing::{BoardChange, Entry, RankKey, ScoreRow, TopList};
use crate::state::StatePoint;

/// The most lines that a reader may ask for; the window always knows at least so many, or the whole board.
pub const MAX_TOP: usize = 100;

/// How many lines are kept: spare ones, so that lines which fall out of the top rarely cost a read of the truth.
pub const WINDOW_ROWS: usize = 2 * MAX_TOP;

/// What a change did to a window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Advance {
    /// The window stands at the change's `to` now.
    Moved,
    /// It already stood there or further.
    Old,
    /// The change starts elsewhere, is of another epoch, or lines fell out that only the truth can replace:
    /// read the truth.
    Behind,
}

/// The best lines of a board at a state. Every line better than the last one kept is in it.
#[derive(Clone, PartialEq, Debug)]
pub struct TopWindow {
    state: StatePoint,
    rows: Vec<Line>,
    /// The window holds every line of the board.
    whole: bool,
}

#[derive(Clone, PartialEq, Debug)]
struct Line {
    key: RankKey,
    row: ScoreRow,
}

impl TopWindow {
    /// From the truth: a list that was asked for with [`WINDOW_ROWS`] lines.
    #[must_use]
    pub fn from_top(top: TopList) -> Self {
        let whole = top.entries.len() < WINDOW_ROWS;
        let rows = top.entries.into_iter().map(Line::from_entry).collect();
        Self { state: top.state, rows, whole }
    }

    /// Where the window stands.
    #[must_use]
    pub const fn state(&self) -> &StatePoint {
        &self.state
    }

    /// Takes a change over, if it starts where the window stands.
    pub fn advance(&mut self, change: &BoardChange) -> Advance {
        if change.epoch != self.state.epoch {
            return Advance::Behind;
        }
        if change.to <= self.state.version {
            return Advance::Old;
        }
        if change.from > self.state.version {
            return Advance::Behind;
        }
        // A range that starts below where we stand is fine: its rows are absolute, and rows not newer than ours are skipped.
        for row in &change.rows {
            self.place(row);
        }
        if self.rows.len() > WINDOW_ROWS {
            self.rows.truncate(WINDOW_ROWS);
            self.whole = false;
        }
        if !self.whole && self.rows.len() < MAX_TOP {
            return Advance::Behind;
        }
        self.state.version = change.to;
        Advance::Moved
    }

    fn place(&mut self, row: &ScoreRow) {
        if let Some(at) = self.rows.iter().position(|line| line.row.user == row.user) {
            if self.rows[at].row.version >= row.version {
                return;
            }
            self.rows.remove(at);
        }
        let Some(key) = row.key() else { return };
        let at = self.rows.partition_point(|line| line.key < key);
        // Behind the last line that is known, others may stand between: only a whole window can place it there.
        if at < self.rows.len() || self.whole {
            self.rows.insert(at, Line { key, row: row.clone() });
        }
    }

    /// The best `limit` lines (at most [`MAX_TOP`]) with their ranks.
    #[must_use]
    pub fn top(&self, limit: usize) -> TopList {
        let entries = self.rows.iter().take(limit.min(MAX_TOP)).zip(1..).map(|(line, rank)| line.entry(rank)).collect();
        TopList { state: self.state.clone(), entries }
    }
}

impl Line {
    fn from_entry(entry: Entry) -> Self {
        let key = RankKey { score: entry.score, version: entry.version };
        let row = ScoreRow {
            user: entry.user,
            username: entry.username,
            score: Some(entry.score),
            version: entry.version,
            updated_at: entry.updated_at,
        };
        Self { key, row }
    }

    fn entry(&self, rank: u64) -> Entry {
        Entry {
            user: self.row.user,
            username: Arc::clone(&self.row.username),
            score: self.key.score,
            rank,
            updated_at: self.row.updated_at,
            version: self.row.version,
        }
    }
}
