//! What running nodes show: the snapshot of `/top`, the first state of a stream, and lines around players.
//!
//! A node may be behind for as long as the contract lets a screen be, and a little; then it must have moved on to where the
//! truth stood when it was first asked. Lines are compared as of the node's own version: a row carries the version of its
//! last change, so whoever did not move after that version stood there, at that version, just as now.

use std::collections::BTreeSet;
use std::time::Duration;

use common::ids::UserId;
use common::ports::StoreError;
use common::standing::ScoreRow;
use common::top_window::MAX_TOP;
use tokio::time::{Instant, sleep};

use super::differences::Differences;
use super::model::{Line, Model};
use super::node::{Node, Shown, ShownLine, Surface, Told};

/// For so long a node may be behind. The contract says 1 s; the questions themselves take their time.
const MAY_LAG: Duration = Duration::from_secs(2);

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(50);

/// Lines on each side of a player that is asked for.
const AROUND: usize = 50;
const STRIDE: usize = 2 * AROUND + 1;

/// Pages of a node's ranks that are compared, spread over the board, its last one among them: a node answers 600 reads a
/// minute unless it is told otherwise.
const PAGES: usize = 20;

/// Ranks have no version, so they are compared where the board stands still; it is waited for so long.
const STILL_WITHIN: Duration = Duration::from_secs(10);

impl Model<'_> {
    /// Everything that a node shows of the board. What could not be compared is told in `left_out`.
    pub(super) async fn compare_node(
        &mut self,
        node: &Node,
        differences: &mut Differences,
        left_out: &mut Vec<String>,
    ) -> Result<(), StoreError> {
        let mut served = 0;
        for surface in [Surface::Top, Surface::Stream] {
            let part = format!("node {node} {surface}");
            match self.compare_surface(node, surface, &part, differences).await? {
                Told::Answer(()) => {
                    served += 1;
                    if surface == Surface::Top {
                        self.compare_ranks(node, differences, left_out).await?;
                    }
                }
                Told::NotServed => {}
                Told::Closed(why) => {
                    served += 1;
                    left_out.push(format!("{part}: {why}"));
                }
                Told::Not(what) => {
                    served += 1;
                    differences.add(&part, "version", &self.state, what);
                    // A node that does not answer at all is asked once.
                    break;
                }
            }
        }
        if served == 0 {
            differences.add(&format!("node {node}"), "board", "/top or a stream", "neither");
        }
        Ok(())
    }

    async fn compare_surface(
        &mut self,
        node: &Node,
        surface: Surface,
        part: &str,
        differences: &mut Differences,
    ) -> Result<Told<()>, StoreError> {
        self.follow().await?;
        let due = self.state.clone();
        let deadline = Instant::now() + MAY_LAG;
        loop {
            let in_time = Instant::now() < deadline;
            let told = node.shown(surface, self.board).await;
            let seen = match told {
                Told::Answer(shown) => {
                    let state = &shown.state;
                    if state.epoch != self.state.epoch || state.version > self.state.version {
                        self.follow().await?;
                    }
                    let behind = state.epoch == due.epoch && state.version < due.version;
                    if state.epoch == self.state.epoch && state.version <= self.state.version && !behind {
                        self.compare_lines(&shown, part, differences);
                        return Ok(Told::Answer(()));
                    }
                    let words = if behind { "for more than" } else { "which the truth does not know, after" };
                    Told::Not(format!("{state} {words} {} s", MAY_LAG.as_secs()))
                }
                Told::NotServed => return Ok(Told::NotServed),
                Told::Closed(why) => return Ok(Told::Closed(why)),
                Told::Not(what) => Told::Not(what),
            };
            if !in_time {
                return Ok(seen);
            }
            sleep(PAUSE).await;
        }
    }

    /// The lines at the node's version, which is not above the model's.
    fn compare_lines(&self, shown: &Shown, part: &str, differences: &mut Differences) {
        let version = shown.state.version;
        let mut settled = self.settled_at(version);
        let moved: BTreeSet<String> =
            self.rows.values().filter(|row| row.version > version).map(|row| row.user.to_string()).collect();
        for (rank, line) in (1..).zip(&shown.lines) {
            let place = format!("position {rank} at version {version}");
            if moved.contains(&line.user_id) {
                differences.compare(part, &place, rank, line.rank);
                continue;
            }
            match settled.next() {
                Some(row) => compare_line(part, &place, rank, row, line, differences),
                None => differences.add(part, place, "nobody", line),
            }
        }
        // A list that is not full is the whole board.
        if shown.lines.len() < MAX_TOP {
            let missing: Vec<&ScoreRow> = settled.collect();
            if let Some(first) = missing.first() {
                let listed = shown.lines.len();
                let seen = format!("{listed} lines, and {} missing, {} the first of them", missing.len(), first.user);
                differences.add(part, format_args!("players at version {version}"), listed + missing.len(), seen);
            }
        }
    }

    /// Lines around players with their ranks, in pages that are spread over the board.
    async fn compare_ranks(
        &mut self,
        node: &Node,
        differences: &mut Differences,
        left_out: &mut Vec<String>,
    ) -> Result<(), StoreError> {
        let part = format!("node {node} ranks");
        let deadline = Instant::now() + STILL_WITHIN;
        let mut still_since = Instant::now();
        let mut page = 0;
        while page < PAGES && !differences.is_full() {
            if self.follow().await? {
                still_since = Instant::now();
            }
            let Some(center) = center_of(page, self.order.len()) else { return Ok(()) };
            let told = node.around(self.board, self.order[center], AROUND).await;
            if self.follow().await? {
                still_since = Instant::now();
            } else {
                let mut found = Differences::default();
                match told {
                    Told::Answer(around) => self.compare_around(center, &around.neighbors, &part, &mut found),
                    Told::NotServed => return Ok(()),
                    Told::Closed(why) => {
                        left_out.push(format!("{part}, from position {}: {why}", center + 1));
                        return Ok(());
                    }
                    Told::Not(what) => found.add(&part, format_args!("position {}", center + 1), "its line", what),
                }
                let (found, _) = found.into_told();
                if found.is_empty() {
                    page += 1;
                    continue;
                }
                // What moved just now may still be on its way to the node.
                if still_since.elapsed() >= MAY_LAG {
                    found.into_iter().for_each(|one| differences.add(&part, one.row, one.expected, one.seen));
                    page += 1;
                    continue;
                }
            }
            if Instant::now() >= deadline {
                left_out.push(format!("{part}, from position {}: the board does not stand still", center + 1));
                return Ok(());
            }
            sleep(PAUSE).await;
        }
        Ok(())
    }

    fn compare_around(&self, center: usize, found: &[ShownLine], part: &str, differences: &mut Differences) {
        let first = center.saturating_sub(AROUND);
        let last = (center + AROUND).min(self.order.len() - 1);
        let around = format!("lines around position {}", center + 1);
        differences.compare(part, &around, last - first + 1, found.len());
        for (index, line) in (first..=last).zip(found) {
            let Some(row) = self.rows.get(&self.order[index]) else { continue };
            let rank = index as u64 + 1;
            compare_line(part, &format!("position {rank}"), rank, row, line, differences);
        }
    }
}

/// The player in the middle of a page: pages follow each other while so many cover the board, else they are spread from
/// its first player to its last.
fn center_of(page: usize, players: usize) -> Option<usize> {
    let last = players.checked_sub(1)?;
    if players > PAGES * STRIDE {
        return Some(last * page / (PAGES - 1));
    }
    (page * STRIDE < players).then_some((AROUND + page * STRIDE).min(last))
}

fn compare_line(part: &str, place: &str, rank: u64, row: &ScoreRow, line: &ShownLine, differences: &mut Differences) {
    let Some(score) = row.score else { return };
    let same = UserId::parse(&line.user_id) == Some(row.user)
        && *row.username == *line.username
        && (score, rank) == (line.score, line.rank)
        && row.updated_at.to_string() == line.last_updated;
    if !same {
        let expected = Line { user: &row.user, name: Some(&row.username), score };
        differences.add(part, place, format_args!("{expected}, rank {rank}, {}", row.updated_at), line);
    }
}

impl std::fmt::Display for ShownLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { user_id, username, score, rank, last_updated } = self;
        let line = Line { user: user_id, name: Some(username), score: *score };
        write!(f, "{line}, rank {rank}, {last_updated}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_cover_a_small_board_and_reach_the_end_of_a_large_one() {
        for players in [1, 50, 51, 101, 102, 150, 500, 2_020, 2_021, 5_000, 1_000_000] {
            let centers: Vec<usize> = (0..PAGES).map_while(|page| center_of(page, players)).collect();
            assert!(centers.is_sorted() && centers.len() <= PAGES, "{players}: {centers:?}");
            assert!(centers.last().unwrap() + AROUND >= players - 1, "{players}: {centers:?}");
            let gap = centers.windows(2).find(|pair| pair[1] - pair[0] > STRIDE);
            assert!(gap.is_none() || players > PAGES * STRIDE, "{players}: {centers:?}");
        }
        assert_eq!(center_of(0, 0), None);
    }
}
