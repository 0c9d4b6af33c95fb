//! Compares the projections of a board with the truth, also while the board moves: the model follows the truth, and an
//! answer of the index is compared when both stand at the same state.

use std::collections::HashMap;
use std::time::Duration;

use common::ids::{BoardId, UserId};
use common::ports::{BoardDigest, IndexState, RankIndex, StoreError, Truth};
use common::standing::{Placement, ScoreRow};
use common::state::{StatePoint, Version};

/// Rows that are read at once.
const PAGE_ROWS: usize = 2_000;

/// Lines on each side of the player that is asked for: with the player, so many are compared at once.
const AROUND: usize = 50;
const STRIDE: usize = 2 * AROUND + 1;

/// The best lines that the truth is asked for in its own order.
const TOP: usize = 100;

/// How often an answer is asked again when the board moved in between.
const ATTEMPTS: usize = 50;

/// What an index that is behind needs at most to catch up with one change.
const PAUSE: Duration = Duration::from_millis(20);

/// The most differences that are told of one board.
const MAX_DIFFERENCES: usize = 20;

/// What a comparison found.
#[derive(Debug)]
pub(crate) struct BoardReport {
    pub(crate) board: BoardId,
    pub(crate) state: StatePoint,
    pub(crate) players: u64,
    pub(crate) score_sum: i128,
    pub(crate) ledger_points: i128,
    pub(crate) ledger_actions: u64,
    pub(crate) differences: Vec<String>,
}

/// Compares one board. `None`: no such board.
pub(crate) async fn compare(
    truth: &dyn Truth,
    ranks: &dyn RankIndex,
    board: &BoardId,
) -> Result<Option<BoardReport>, StoreError> {
    let Some(mut model) = Model::read(truth, board).await? else { return Ok(None) };
    let mut differences = Differences::default();
    let BoardDigest { players, score_sum, ledger_points, ledger_actions } =
        model.compare_sums(&mut differences).await?;
    model.compare_top(&mut differences).await?;
    model.compare_index(ranks, &mut differences).await?;
    Ok(Some(BoardReport {
        board: board.clone(),
        state: model.state.clone(),
        players,
        score_sum,
        ledger_points,
        ledger_actions,
        differences: differences.told,
    }))
}

#[derive(Default)]
struct Differences {
    told: Vec<String>,
}

impl Differences {
    fn add(&mut self, difference: String) {
        if self.told.len() < MAX_DIFFERENCES {
            self.told.push(difference);
        } else if self.told.len() == MAX_DIFFERENCES {
            self.told.push("… and more".to_owned());
        }
    }

    fn is_full(&self) -> bool {
        self.told.len() > MAX_DIFFERENCES
    }
}

/// The board as the truth's rows say, sorted here.
struct Model<'a> {
    truth: &'a dyn Truth,
    board: &'a BoardId,
    state: StatePoint,
    rows: HashMap<UserId, ScoreRow>,
    /// Best first.
    order: Vec<UserId>,
}

impl<'a> Model<'a> {
    async fn read(truth: &'a dyn Truth, board: &'a BoardId) -> Result<Option<Self>, StoreError> {
        let Some(head) = truth.rows_above(board, Version::ZERO, 1).await? else { return Ok(None) };
        let state = StatePoint { version: Version::ZERO, ..head.head.state };
        let mut model = Self { truth, board, state, rows: HashMap::new(), order: Vec::new() };
        model.follow().await?;
        Ok(Some(model))
    }

    /// Brings the model to the truth's head. `true` when it moved.
    async fn follow(&mut self) -> Result<bool, StoreError> {
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

    fn placement(&self, index: usize) -> Option<Placement> {
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

    /// The ledger, the scores and the board's version must tell the same.
    async fn compare_sums(&mut self, differences: &mut Differences) -> Result<BoardDigest, StoreError> {
        for _ in 0..ATTEMPTS {
            let Some(digest) = self.truth.digest(self.board).await? else { break };
            if self.follow().await? {
                continue;
            }
            let players = self.order.len() as u64;
            let sum: i128 = self.rows.values().filter_map(|row| row.score).map(i128::from).sum();
            if digest.players != players || digest.score_sum != sum {
                differences.add(format!(
                    "scores: the rows say {players} players with {sum} points, the sums {} with {}",
                    digest.players, digest.score_sum
                ));
            }
            if digest.ledger_points != digest.score_sum {
                differences.add(format!(
                    "ledger: the applied actions bring {} points, the scores hold {}",
                    digest.ledger_points, digest.score_sum
                ));
            }
            if digest.ledger_actions != self.state.version.0 {
                differences.add(format!(
                    "ledger: {} applied actions, but the board stands at version {}",
                    digest.ledger_actions, self.state.version
                ));
            }
            return Ok(digest);
        }
        differences.add("sums: the board moves too fast to be compared".to_owned());
        Ok(BoardDigest::default())
    }

    /// The truth's own order.
    async fn compare_top(&mut self, differences: &mut Differences) -> Result<(), StoreError> {
        for _ in 0..ATTEMPTS {
            self.follow().await?;
            let Some(top) = self.truth.top(self.board, TOP).await? else { return Ok(()) };
            if top.state != self.state {
                continue;
            }
            let expected =
                (0..TOP).map_while(|index| self.placement(index)).map(|line| (line.user, line.score, line.rank));
            let found = top.entries.iter().map(|entry| (entry.user, entry.score, entry.rank));
            if !expected.eq(found) {
                differences.add("database: its own order of the best differs from the order of its rows".to_owned());
            }
            return Ok(());
        }
        differences.add("database: the board moves too fast to be compared".to_owned());
        Ok(())
    }

    /// Every position of the index, page by page.
    async fn compare_index(&mut self, ranks: &dyn RankIndex, differences: &mut Differences) -> Result<(), StoreError> {
        let mut at = AROUND;
        let mut attempts = 0;
        while !differences.is_full() {
            self.follow().await?;
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
                    differences.add(format!("ranks: the index stands at {state}, the truth at {}", self.state));
                    return Ok(());
                }
                None => {
                    let state = ranks.state(self.board).await?;
                    differences.add(format!("ranks: the index cannot answer ({})", in_words(&state)));
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn compare_page(&self, center: usize, found: &[Placement], differences: &mut Differences) {
        let first = center.saturating_sub(AROUND);
        let last = (center + AROUND).min(self.order.len() - 1);
        let expected: Vec<_> = (first..=last).filter_map(|index| self.placement(index)).collect();
        if expected.len() != found.len() {
            differences.add(format!(
                "ranks: {} lines around position {}, expected {}",
                found.len(),
                center + 1,
                expected.len()
            ));
        }
        for (expected, found) in expected.iter().zip(found) {
            let same = (expected.user, expected.score, expected.version, expected.rank)
                == (found.user, found.score, found.version, found.rank);
            if !same {
                differences.add(format!(
                    "ranks: position {} is {} with {} points in the index, {} with {} in the truth",
                    expected.rank, found.user, found.score, expected.user, expected.score
                ));
            }
        }
    }

    async fn compare_count(&mut self, ranks: &dyn RankIndex, differences: &mut Differences) -> Result<(), StoreError> {
        for _ in 0..ATTEMPTS {
            self.follow().await?;
            match ranks.count(self.board).await? {
                Some((state, count)) if state == self.state => {
                    if count != self.order.len() as u64 {
                        differences
                            .add(format!("ranks: {count} players in the index, {} in the truth", self.order.len()));
                    }
                    return Ok(());
                }
                _ => tokio::time::sleep(PAUSE).await,
            }
        }
        differences.add("ranks: the board moves too fast to be counted".to_owned());
        Ok(())
    }

    async fn compare_empty_index(
        &self,
        ranks: &dyn RankIndex,
        differences: &mut Differences,
    ) -> Result<(), StoreError> {
        match ranks.count(self.board).await? {
            Some((_, count)) if count > 0 => {
                differences.add(format!("ranks: {count} players in the index, none in the truth"));
            }
            // An index that nobody has asked about a board without players may hold nothing of it.
            _ => {}
        }
        Ok(())
    }
}

fn in_words(state: &IndexState) -> String {
    match state {
        IndexState::Empty => "it holds nothing of this board; a running score-worker fills it".to_owned(),
        IndexState::At(state) => format!("it stands at {state}"),
        IndexState::Filling => "it is being filled".to_owned(),
    }
}
