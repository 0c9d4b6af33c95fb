//! What was worked out from the truth and is held elsewhere: ranks, and the names beside them.

use common::ports::{FillStart, IndexState, RankIndex, StoreError};
use common::standing::{Placement, ScoreRow};
use distributed::redis::RedisProfiles;
use uuid::Uuid;

use super::differences::Differences;
use super::model::{Model, placed};
use super::{ATTEMPTS, PAUSE};

/// Lines on each side of the player that is asked for: with the player, so many are compared at once.
const AROUND: usize = 50;
const STRIDE: usize = 2 * AROUND + 1;

/// Names that are asked for at once.
const NAMES: usize = 2_000;

/// An index of ranks.
#[derive(Clone, Copy)]
pub(crate) enum Ranks<'a> {
    /// It follows the truth by itself.
    Live(&'a dyn RankIndex),
    /// It is filled here, by what fills it in a server that keeps its ranks in memory.
    Own(&'a dyn RankIndex),
}

impl Model<'_> {
    /// Every position of the index, page by page.
    pub(super) async fn compare_index(
        &mut self,
        ranks: Ranks<'_>,
        differences: &mut Differences,
    ) -> Result<(), StoreError> {
        let mut at = AROUND;
        let mut attempts = 0;
        while !differences.is_full() {
            self.follow().await?;
            let ranks = match ranks {
                Ranks::Live(live) => live,
                Ranks::Own(own) => {
                    self.fill(own).await?;
                    own
                }
            };
            if self.order.is_empty() {
                return self.compare_empty_index(ranks, differences).await;
            }
            // The last page overlaps with the one before it.
            let user = self.order[at.min(self.order.len() - 1)];
            let answer = ranks.neighborhood(self.board, user, AROUND).await?;
            match answer {
                Some((state, found)) if state == self.state => {
                    let found = found.map(|found| found.lines).unwrap_or_default();
                    self.compare_page(at.min(self.order.len() - 1), &found, differences);
                    attempts = 0;
                    if at + AROUND + 1 >= self.order.len() {
                        return self.compare_count(ranks, differences).await;
                    }
                    at += STRIDE;
                }
                // It lags, is ahead of what we have read, or is being filled: look again.
                _ if attempts < ATTEMPTS => {
                    attempts += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                Some((state, _)) => {
                    differences.add("ranks", "version", &self.state, state);
                    return Ok(());
                }
                None => {
                    let state = ranks.state(self.board).await?;
                    differences.add("ranks", "version", &self.state, in_words(&state));
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Brings an index that is ours alone to exactly where the model stands.
    async fn fill(&self, own: &dyn RankIndex) -> Result<(), StoreError> {
        let (filler, state) = (Uuid::new_v4(), &self.state);
        if own.state(self.board).await? == IndexState::At(state.clone()) {
            return Ok(());
        }
        if let FillStart::From(after) = own.begin_fill(self.board, &state.epoch, state.version, filler).await? {
            let mut rows: Vec<ScoreRow> = self.rows.values().filter(|row| row.version > after).cloned().collect();
            rows.sort_unstable_by_key(|row| row.version);
            own.fill(self.board, filler, &rows).await?;
            own.finish_fill(self.board, filler, state).await?;
        }
        Ok(())
    }

    fn compare_page(&self, center: usize, found: &[Placement], differences: &mut Differences) {
        let first = center.saturating_sub(AROUND);
        let last = (center + AROUND).min(self.order.len() - 1);
        let expected: Vec<_> = (first..=last).filter_map(|index| self.placement(index)).collect();
        let row = format!("lines around position {}", center + 1);
        differences.compare("ranks", &row, expected.len(), found.len());
        for (expected, found) in expected.iter().zip(found) {
            let same = (expected.user, expected.score, expected.version, expected.rank)
                == (found.user, found.score, found.version, found.rank);
            if !same {
                let seen = format!("{} at position {}", placed(found), found.rank);
                differences.add("ranks", format_args!("position {}", expected.rank), placed(expected), seen);
            }
        }
    }

    async fn compare_count(&mut self, ranks: &dyn RankIndex, differences: &mut Differences) -> Result<(), StoreError> {
        for _ in 0..ATTEMPTS {
            let counted = ranks.count(self.board).await?;
            match counted {
                Some((state, count)) if state == self.state => {
                    differences.compare("ranks", "players", self.order.len() as u64, count);
                    return Ok(());
                }
                _ => tokio::time::sleep(PAUSE).await,
            }
            self.follow().await?;
        }
        differences.add("ranks", "players", "to be counted", "a board that moves too fast");
        Ok(())
    }

    async fn compare_empty_index(
        &self,
        ranks: &dyn RankIndex,
        differences: &mut Differences,
    ) -> Result<(), StoreError> {
        // An index that nobody has asked about a board without players may hold nothing of it.
        if let Some((_, count)) = ranks.count(self.board).await? {
            differences.compare("ranks", "players", 0, count);
        }
        Ok(())
    }

    /// The names that Redis shows beside lines; it need not know any.
    pub(super) async fn compare_names(
        &self,
        details: &RedisProfiles,
        differences: &mut Differences,
    ) -> Result<(), StoreError> {
        for users in self.order.chunks(NAMES) {
            if differences.is_full() {
                break;
            }
            let held = details.held(users).await?;
            for row in users.iter().filter_map(|user| self.rows.get(user)) {
                if let Some(name) = held.get(&row.user) {
                    let row_name = format!("name of {}", row.user);
                    differences.compare("details", &row_name, &*row.username, &**name);
                }
            }
        }
        Ok(())
    }
}

fn in_words(state: &IndexState) -> String {
    match state {
        IndexState::Empty => "nothing of this board, which a running score-worker fills".to_owned(),
        IndexState::At(state) => state.to_string(),
        IndexState::Filling => "an index that is being filled".to_owned(),
    }
}
