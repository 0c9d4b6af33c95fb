//! Whether the truth agrees with itself: the ledger, the scores, the board's version and the database's own order.

use common::ports::{Audit, BoardDigest, Deviation, StoreError};

use super::ATTEMPTS;
use super::differences::Differences;
use super::model::{Model, placed};

/// The best lines that the truth is asked for in its own order.
const TOP: usize = 100;

/// Users whose lines are told one by one.
const DEVIATIONS: usize = 10;

impl Model<'_> {
    /// The ledger, the scores and the board's version must tell the same.
    pub(super) async fn compare_sums(&mut self, differences: &mut Differences) -> Result<BoardDigest, StoreError> {
        for _ in 0..ATTEMPTS {
            let Some(digest) = self.truth.digest(self.board).await? else { break };
            if self.follow().await? {
                continue;
            }
            let players = self.order.len() as u64;
            let sum: i128 = self.rows.values().filter_map(|row| row.score).map(i128::from).sum();
            differences.compare("scores", "players", players, digest.players);
            differences.compare("scores", "sum of points", sum, digest.score_sum);
            differences.compare("ledger", "sum of points", digest.score_sum, digest.ledger_points);
            differences.compare("ledger", "applied actions", self.state.version.0, digest.ledger_actions);
            return Ok(digest);
        }
        differences.add("scores", "sums", "to be compared", "a board that moves too fast");
        Ok(BoardDigest::default())
    }

    /// Who has what its actions do not come to: sums can agree where two players' do not.
    pub(super) async fn compare_players(
        &self,
        audit: &dyn Audit,
        differences: &mut Differences,
    ) -> Result<(), StoreError> {
        for Deviation { user, held, ledger } in audit.deviations(self.board, DEVIATIONS).await? {
            let expected = match ledger {
                Some((points, version)) => format!("{points} points at version {version}, as the ledger has it"),
                None => "no line, for the ledger has no applied action".to_owned(),
            };
            let seen = match held {
                Some((Some(score), version)) => format!("{score} points at version {version}"),
                Some((None, version)) => format!("a tombstone at version {version}"),
                None => "no line".to_owned(),
            };
            differences.add("scores", format_args!("player {user}"), expected, seen);
        }
        Ok(())
    }

    /// The truth's own order.
    pub(super) async fn compare_top(&mut self, differences: &mut Differences) -> Result<(), StoreError> {
        for _ in 0..ATTEMPTS {
            self.follow().await?;
            let Some(top) = self.truth.top(self.board, TOP).await? else { return Ok(()) };
            if top.state != self.state {
                continue;
            }
            let nobody = || "nobody".to_owned();
            for index in 0..TOP.min(self.order.len().max(top.entries.len())) {
                let expected = self.placement(index).as_ref().map_or_else(nobody, placed);
                let seen = top.entries.get(index).map(|entry| common::standing::Placement {
                    user: entry.user,
                    score: entry.score,
                    version: entry.version,
                    updated_at: entry.updated_at,
                    rank: entry.rank,
                });
                let seen = seen.as_ref().map_or_else(nobody, placed);
                differences.compare("database", &format!("position {}", index + 1), expected, seen);
            }
            return Ok(());
        }
        differences.add("database", "its own order", "to be compared", "a board that moves too fast");
        Ok(())
    }
}
