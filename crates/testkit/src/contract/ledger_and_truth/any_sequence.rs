//! Any sequence of batches, with repeated actions, keys and deliveries, against a model of the ledger.

use std::collections::{HashMap, HashSet};

use common::ids::{ActionId, BoardId, IdempotencyKey, SubmissionId, UserId};
use common::receipt::{Outcome, Receipt};
use common::score_update::{ContentHash, ScoreUpdate};
use common::state::Version;
use uuid::Uuid;

use super::{Fixture, receipt_of};
use crate::fixtures::{row, update};
use crate::model::BoardModel;
use crate::sequences::{Request, batches, for_any};

/// The ledger, as simply as it can be said; for points that no rule minds.
#[derive(Default)]
struct LedgerModel {
    submissions: HashMap<SubmissionId, Outcome>,
    actions: HashMap<(BoardId, UserId, ActionId), Receipt>,
    keys: HashMap<(UserId, IdempotencyKey), (ContentHash, Receipt)>,
    versions: HashMap<BoardId, u64>,
    boards: HashMap<BoardId, BoardModel>,
}

impl LedgerModel {
    /// What is told of a submission. One that was applied is told the same for ever; one that was answered with
    /// somebody else's receipt is looked at anew, by which time its key may stand for something else.
    fn decide(&mut self, update: &ScoreUpdate) -> Outcome {
        if let Some(outcome) = self.submissions.get(&update.submission) {
            return outcome.clone();
        }
        let named = update.idempotency_key.clone().map(|key| (update.user, key));
        if let Some((content, receipt)) = named.as_ref().and_then(|key| self.keys.get(key)) {
            return match *content == update.content_hash {
                true => Outcome::Applied { receipt: receipt.clone(), replayed: true },
                false => Outcome::KeyReused,
            };
        }
        let action = (update.board.clone(), update.user, update.action_id.clone());
        if let Some(receipt) = self.actions.get(&action) {
            return Outcome::DuplicateAction { receipt: receipt.clone() };
        }
        let version = self.versions.entry(update.board.clone()).or_default();
        *version += 1;
        let board = self.boards.entry(update.board.clone()).or_default();
        let score = board.score(update.user).unwrap_or(0) + update.points;
        board.take(&row(update.user, score, *version));
        let receipt = receipt_of(update, score, *version);
        self.actions.insert(action, receipt.clone());
        if let Some(key) = named {
            self.keys.insert(key, (update.content_hash, receipt.clone()));
        }
        let outcome = Outcome::Applied { receipt, replayed: false };
        self.submissions.insert(update.submission, outcome.clone());
        outcome
    }
}

/// Whatever is sent, sent again and delivered again: outcomes, ranges, order, pages and sums equal the model's.
pub async fn any_sequence_equals_the_model(fixture: &Fixture) {
    let users = fixture.players::<4>().await;
    for_any(24, batches(6, 12), |batches| async move { follow(fixture, &users, &batches).await });
}

async fn follow(fixture: &Fixture, users: &[UserId], batches: &[Vec<Request>]) {
    let boards = [fixture.board().await, fixture.board().await];
    // Keys belong to users, who stay the same from sequence to sequence.
    let key_prefix = Uuid::new_v4().simple().to_string();
    let mut model = LedgerModel::default();
    let mut sent: Vec<(ScoreUpdate, Outcome)> = Vec::new();
    for batch in batches {
        let start = sent.len();
        for request in batch {
            match *request {
                Request::New { user, board, action, key, points } => {
                    let mut made = update(users[user], &format!("a{action}")).board(&boards[board]).points(points);
                    if let Some(key) = key {
                        made = made.key(&format!("{key_prefix}-{key}"));
                    }
                    let made = made.build();
                    let outcome = model.decide(&made);
                    sent.push((made, outcome));
                }
                Request::Redelivered { back } => {
                    if let Some(again) = sent.len().checked_sub(back + 1) {
                        let again = sent[again].0.clone();
                        let outcome = model.decide(&again);
                        sent.push((again, outcome));
                    }
                }
            }
        }
        let updates: Vec<_> = sent[start..].iter().map(|(update, _)| update.clone()).collect();
        let expected: Vec<_> = sent[start..].iter().map(|(_, outcome)| outcome.clone()).collect();
        let before = [fixture.version(&boards[0]).await, fixture.version(&boards[1]).await];
        let done = fixture.apply(&updates).await;
        assert_eq!(done.outcomes, expected);
        let moved: HashSet<_> = done.changes.iter().map(|change| &change.board).collect();
        assert_eq!(moved.len(), done.changes.len(), "one change for each board");
        for (board, before) in boards.iter().zip(before) {
            let version = Version(model.versions.get(board).copied().unwrap_or(0));
            match done.changes.iter().find(|change| change.board == *board) {
                Some(change) => assert_eq!((change.from, change.to), (before, version)),
                None => assert_eq!(before, version, "it did not move"),
            }
        }
    }
    for board in &boards {
        assert_board(fixture, board, &model).await;
    }
}

async fn assert_board(fixture: &Fixture, board: &BoardId, model: &LedgerModel) {
    let empty = BoardModel::default();
    let version = Version(model.versions.get(board).copied().unwrap_or(0));
    let ranked = model.boards.get(board).unwrap_or(&empty).ranked();
    let top = fixture.top(board).await;
    assert_eq!(top.state.version, version);
    let lines: Vec<_> = top.entries.iter().map(|e| (e.user, e.score, e.version)).collect();
    assert_eq!(lines, ranked);
    assert!(top.entries.iter().map(|e| e.rank).eq(1..=ranked.len() as u64));
    for entry in &top.entries {
        let own = fixture.truth.neighborhood(board, entry.user, 0).await.unwrap().expect("has a score");
        assert_eq!(own.lines[..], *std::slice::from_ref(entry));
    }
    let mut by_version = ranked.clone();
    by_version.sort_by_key(|line| line.2);
    let page = fixture.truth.rows_above(board, Version(0), 100).await.unwrap().expect("the board exists");
    let rows: Vec<_> = page.rows.iter().map(|row| (row.user, row.score.expect("no tombstones"), row.version)).collect();
    assert_eq!((rows, page.complete, page.head.state), (by_version, true, top.state));
    let digest = fixture.digest(board).await;
    let sum: i128 = ranked.iter().map(|line| i128::from(line.1)).sum();
    assert_eq!((digest.players, digest.score_sum, digest.ledger_points), (ranked.len() as u64, sum, sum));
    assert_eq!(digest.ledger_actions, version.0);
}
