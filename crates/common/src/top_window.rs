//! The visible top of a board, moved by changes: what a gateway and a fan-out node keep in memory.

use std::sync::Arc;

use crate::ids::UserId;
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
    /// read the truth. The window is as it was.
    Behind,
}

/// The best lines of a board at a state: every line of the board that ranks at or above the floor, and no other.
#[derive(Clone, PartialEq, Debug)]
pub struct TopWindow {
    state: StatePoint,
    /// Best first. Shared: a window is copied at every change, most of its lines stay.
    rows: Vec<Arc<Line>>,
    /// Lines below this key are not known; `None` when every line of the board is.
    floor: Option<RankKey>,
}

#[derive(Clone, PartialEq, Debug)]
struct Line {
    key: RankKey,
    row: ScoreRow,
}

impl TopWindow {
    /// From the truth: a list that was asked for with [`WINDOW_ROWS`] lines, so that a shorter one is the whole
    /// board.
    #[must_use]
    pub fn from_top(top: TopList) -> Self {
        let whole = top.entries.len() < WINDOW_ROWS;
        let rows: Vec<_> = top.entries.into_iter().map(|entry| Arc::new(Line::from_entry(entry))).collect();
        let floor = rows.last().filter(|_| !whole).map(|line| line.key);
        Self { state: top.state, rows, floor }
    }

    /// Where the window stands.
    #[must_use]
    pub const fn state(&self) -> &StatePoint {
        &self.state
    }

    /// Takes a change over, if it starts where the window stands or below: rows are absolute, and those that are
    /// not newer than the window's own are skipped.
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
        // On a copy: a window that turns out to know too little must not be left between two states.
        let mut next = self.clone();
        for row in &change.rows {
            next.place(row);
        }
        next.cut_to(WINDOW_ROWS);
        if next.floor.is_some() && next.rows.len() < MAX_TOP {
            return Advance::Behind;
        }
        next.state.version = change.to;
        *self = next;
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
        // Below the floor others may stand that are not known.
        if self.floor.is_some_and(|floor| key > floor) {
            return;
        }
        let at = self.rows.partition_point(|line| line.key < key);
        self.rows.insert(at, Arc::new(Line { key, row: row.clone() }));
        // Bounds the work of a change with very many rows.
        if self.rows.len() >= 2 * WINDOW_ROWS {
            self.cut_to(WINDOW_ROWS);
        }
    }

    fn cut_to(&mut self, lines: usize) {
        if self.rows.len() > lines {
            self.rows.truncate(lines);
            self.floor = self.rows.last().map(|line| line.key);
        }
    }

    /// The best `limit` lines (at most [`MAX_TOP`]) with their ranks.
    #[must_use]
    pub fn top(&self, limit: usize) -> TopList {
        TopList { state: self.state.clone(), entries: self.entries(limit.min(MAX_TOP)) }
    }

    /// A user's line, if it is among those that are kept (up to about [`WINDOW_ROWS`], so further down than
    /// [`Self::top`] shows).
    #[must_use]
    pub fn entry_of(&self, user: UserId) -> Option<Entry> {
        let at = self.rows.iter().position(|line| line.row.user == user)?;
        Some(self.rows[at].entry(at as u64 + 1))
    }

    /// Whether both show the same lines, as far as both know them. Means something only for windows of one state.
    #[must_use]
    pub fn agrees_with(&self, other: &Self) -> bool {
        let known = |window: &Self| window.floor.map_or(usize::MAX, |_| window.rows.len());
        let common = known(self).min(known(other));
        self.entries(common) == other.entries(common)
    }

    /// Whether both hold the same lines, at whatever states.
    #[must_use]
    pub fn holds_what(&self, other: &Self) -> bool {
        let same = |(a, b): (&Arc<Line>, &Arc<Line>)| Arc::ptr_eq(a, b) || a == b;
        self.rows.len() == other.rows.len() && self.rows.iter().zip(&other.rows).all(same)
    }

    fn entries(&self, limit: usize) -> Vec<Entry> {
        self.rows.iter().take(limit).zip(1..).map(|(line, rank)| line.entry(rank)).collect()
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

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::clock::Timestamp;
    use crate::ids::BoardId;
    use crate::state::{Epoch, Version};

    /// The whole board, sorted anew for every question.
    struct Model {
        epoch: Epoch,
        head: Version,
        rows: HashMap<UserId, ScoreRow>,
    }

    impl Model {
        fn with_players(players: u128) -> Self {
            let mut model = Self { epoch: Epoch::parse("e").unwrap(), head: Version::ZERO, rows: HashMap::new() };
            for player in 0..players {
                model.set(player, Some(i64::try_from(player % 40).unwrap()));
            }
            model
        }

        fn set(&mut self, player: u128, score: Option<i64>) {
            self.head = self.head.next();
            let user = UserId(Uuid::from_u128(player));
            let row = ScoreRow {
                user,
                username: format!("p{player}").into(),
                score,
                version: self.head,
                updated_at: Timestamp::from_millis(0),
            };
            self.rows.insert(user, row);
        }

        fn top(&self, limit: usize) -> TopList {
            let mut rows: Vec<_> = self.rows.values().filter(|row| row.score.is_some()).collect();
            rows.sort_by_key(|row| row.key());
            let entries = rows.into_iter().take(limit).zip(1..).map(|(row, rank)| {
                let key = row.key().unwrap();
                Line { key, row: row.clone() }.entry(rank)
            });
            let state = StatePoint { epoch: self.epoch.clone(), version: self.head };
            TopList { state, entries: entries.collect() }
        }

        fn window(&self) -> TopWindow {
            TopWindow::from_top(self.top(WINDOW_ROWS))
        }

        fn change_since(&self, from: Version) -> BoardChange {
            let mut rows: Vec<_> = self.rows.values().filter(|row| row.version > from).cloned().collect();
            rows.sort_by_key(|row| row.version);
            BoardChange { board: BoardId::global(), epoch: self.epoch.clone(), from, to: self.head, rows }
        }
    }

    /// Moves of a range, how far below the window's version the range begins, and whether it is told to the window.
    type Range = (Vec<(u128, Option<i64>)>, u64, bool);

    fn ranges(players: u128) -> impl Strategy<Value = Vec<Range>> {
        let score = prop_oneof![8 => (-5..60i64).prop_map(Some), 2 => (0..3i64).prop_map(Some), 2 => Just(None)];
        let moves = prop::collection::vec((0..players, score), 1..40);
        prop::collection::vec((moves, 0..30u64, prop::bool::weighted(0.9)), 1..20)
    }

    fn follows_the_model(players: u128, ranges: Vec<Range>) -> Result<(), TestCaseError> {
        let mut model = Model::with_players(players);
        let mut window = model.window();
        for (moves, overlap, told) in ranges {
            let before = model.head;
            for (player, score) in moves {
                model.set(player, score);
            }
            if !told {
                continue;
            }
            let from = Version(before.0.saturating_sub(overlap));
            let stood = window.clone();
            match window.advance(&model.change_since(from)) {
                Advance::Moved => prop_assert!(from <= stood.state.version),
                Advance::Old => prop_assert!(false, "the range ends above the window"),
                Advance::Behind => {
                    prop_assert_eq!(&window, &stood, "a refused change leaves no trace");
                    prop_assert!(from > stood.state.version || stood.floor.is_some());
                    window = model.window();
                }
            }
            for limit in [1, 10, MAX_TOP] {
                prop_assert_eq!(window.top(limit), model.top(limit));
            }
            prop_assert!(window.agrees_with(&model.window()));
            // The same again, and older, changes nothing.
            let stood = window.clone();
            prop_assert_eq!(window.advance(&model.change_since(from)), Advance::Old);
            prop_assert_eq!(&window, &stood);
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_small_board_is_followed_whole(ranges in ranges(30)) {
            follows_the_model(30, ranges)?;
        }

        #[test]
        fn a_board_around_the_size_of_the_window_is_followed(ranges in ranges(215)) {
            follows_the_model(205, ranges)?;
        }

        #[test]
        fn a_large_board_is_followed(ranges in ranges(600)) {
            follows_the_model(600, ranges)?;
        }
    }

    #[test]
    fn a_last_line_that_improves_costs_no_line() {
        let mut model = Model::with_players(2 * WINDOW_ROWS as u128);
        let mut window = model.window();
        for _ in 0..WINDOW_ROWS {
            let last = window.rows.last().unwrap().clone();
            model.set(last.row.user.0.as_u128(), Some(last.key.score + 1));
            let from = window.state.version;
            assert_eq!(window.advance(&model.change_since(from)), Advance::Moved);
            assert_eq!(window.rows.len(), WINDOW_ROWS);
        }
        assert_eq!(window.top(MAX_TOP), model.top(MAX_TOP));
    }

    #[test]
    fn a_window_that_loses_too_many_lines_says_so_and_stays_whole() {
        let mut model = Model::with_players(2 * WINDOW_ROWS as u128);
        let mut window = model.window();
        let stood = window.clone();
        for entry in model.top(MAX_TOP + 1).entries {
            model.set(entry.user.0.as_u128(), Some(-1));
        }
        assert_eq!(window.advance(&model.change_since(stood.state.version)), Advance::Behind);
        assert_eq!(window, stood);
    }

    #[test]
    fn another_epoch_is_behind() {
        let mut model = Model::with_players(3);
        let mut window = model.window();
        model.set(1, Some(9));
        let mut change = model.change_since(window.state.version);
        change.epoch = Epoch::parse("other").unwrap();
        assert_eq!(window.advance(&change), Advance::Behind);
    }
}
