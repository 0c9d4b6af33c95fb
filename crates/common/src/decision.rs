//! What a batch of updates does to the truth, decided from facts that were read inside the same transaction.
//!
//! Pure, so that SQLite and PostgreSQL decide alike and a model can check both: the adapters lock the boards,
//! read [`Facts`], call [`decide`] and write the [`Plan`].

use std::collections::HashMap;
use std::sync::Arc;

use crate::board::{ActionRule, SCORE_LIMIT};
use crate::clock::Timestamp;
use crate::error_code::ErrorCode;
use crate::ids::{ActionId, ActionType, BoardId, IdempotencyKey, SubmissionId, UserId};
use crate::receipt::{Outcome, Receipt, ReceiptStatus};
use crate::score_update::{ContentHash, ScoreUpdate};
use crate::standing::{BoardChange, ScoreRow};
use crate::state::{Epoch, Version};

/// A board as it stands under the transaction's lock.
#[derive(Clone, Debug)]
pub struct BoardFacts {
    /// Its history.
    pub epoch: Epoch,
    /// Its newest version.
    pub version: Version,
    /// Its action types.
    pub rules: HashMap<ActionType, ActionRule>,
}

/// A row of the ledger that has to do with an update of the batch.
#[derive(Clone, Debug)]
pub struct DecidedAction {
    /// Which acceptance was decided.
    pub submission: SubmissionId,
    /// By whom.
    pub user: UserId,
    /// The name of the request.
    pub idempotency_key: Option<IdempotencyKey>,
    /// What that name stands for.
    pub content_hash: ContentHash,
    /// How it was decided.
    pub receipt: Receipt,
}

/// What the transaction knows of the boards, users, scores and actions that a batch names.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The boards that exist.
    pub boards: HashMap<BoardId, BoardFacts>,
    /// The users that exist, with their names.
    pub usernames: HashMap<UserId, Arc<str>>,
    /// Scores so far; absent for none.
    pub scores: HashMap<(BoardId, UserId), i64>,
    /// Points of today (the day of `now`) per type; absent for none.
    pub daily_points: HashMap<(BoardId, UserId, ActionType), i64>,
    /// Every decided action that shares its submission, its (board, user, action) or its (user, key) with an update.
    pub decided: Vec<DecidedAction>,
}

/// A new row of the ledger.
#[derive(Clone, Debug)]
pub struct LedgerRow {
    /// Which update of the batch.
    pub update: usize,
    /// How it was decided.
    pub receipt: Receipt,
}

/// Points that a user has gathered today, after the batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DailyPoints {
    /// The board.
    pub board: BoardId,
    /// The user.
    pub user: UserId,
    /// The action type.
    pub action_type: ActionType,
    /// The new sum.
    pub points: i64,
}

/// What to write, and what to answer.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// One for each update, in the batch's order.
    pub outcomes: Vec<Outcome>,
    /// New rows of the ledger.
    pub ledger: Vec<LedgerRow>,
    /// New sums of the day.
    pub daily: Vec<DailyPoints>,
    /// The range of each board that moved, with its new score rows.
    pub changes: Vec<BoardChange>,
}

/// Decides a batch.
#[must_use]
pub fn decide(updates: &[ScoreUpdate], facts: Facts, now: Timestamp) -> Plan {
    let mut deciding = Deciding::new(facts, now);
    for (index, update) in updates.iter().enumerate() {
        let outcome = deciding.one(index, update);
        deciding.plan.outcomes.push(outcome);
    }
    deciding.finish()
}

struct Deciding {
    now: Timestamp,
    boards: HashMap<BoardId, BoardFacts>,
    usernames: HashMap<UserId, Arc<str>>,
    scores: HashMap<(BoardId, UserId), i64>,
    daily_points: HashMap<(BoardId, UserId, ActionType), i64>,
    by_submission: HashMap<SubmissionId, Outcome>,
    by_action: HashMap<(BoardId, UserId, ActionId), Receipt>,
    by_key: HashMap<(UserId, IdempotencyKey), (ContentHash, Receipt)>,
    started_at: HashMap<BoardId, Version>,
    rows: HashMap<(BoardId, UserId), ScoreRow>,
    daily_changed: HashMap<(BoardId, UserId, ActionType), i64>,
    plan: Plan,
}

impl Deciding {
    fn new(facts: Facts, now: Timestamp) -> Self {
        let mut this = Self {
            now,
            started_at: facts.boards.iter().map(|(board, b)| (board.clone(), b.version)).collect(),
            boards: facts.boards,
            usernames: facts.usernames,
            scores: facts.scores,
            daily_points: facts.daily_points,
            by_submission: HashMap::new(),
            by_action: HashMap::new(),
            by_key: HashMap::new(),
            rows: HashMap::new(),
            daily_changed: HashMap::new(),
            plan: Plan::default(),
        };
        for action in facts.decided {
            this.remember(action.submission, action.user, action.idempotency_key, action.content_hash, action.receipt);
        }
        this
    }

    fn remember(
        &mut self,
        submission: SubmissionId,
        user: UserId,
        key: Option<IdempotencyKey>,
        content: ContentHash,
        receipt: Receipt,
    ) {
        if receipt.status == ReceiptStatus::Applied {
            self.by_action.insert((receipt.board.clone(), user, receipt.action_id.clone()), receipt.clone());
            if let Some(key) = key {
                self.by_key.insert((user, key), (content, receipt.clone()));
            }
            self.by_submission.insert(submission, Outcome::Applied { receipt, replayed: false });
        } else {
            // A refusal uses nothing up: it binds its own redelivery only.
            self.by_submission.insert(submission, rejection(receipt, self.now));
        }
    }

    fn one(&mut self, index: usize, update: &ScoreUpdate) -> Outcome {
        if let Some(outcome) = self.by_submission.get(&update.submission) {
            return outcome.clone();
        }
        let keyed = update.idempotency_key.as_ref().and_then(|key| self.by_key.get(&(update.user, key.clone())));
        let reused = match keyed {
            Some((content, receipt)) if *content == update.content_hash => {
                return Outcome::Applied { receipt: receipt.clone(), replayed: true };
            }
            Some(_) => true,
            None => false,
        };
        let action = (update.board.clone(), update.user, update.action_id.clone());
        if let Some(receipt) = self.by_action.get(&action).filter(|_| !reused) {
            return Outcome::DuplicateAction { receipt: receipt.clone() };
        }
        // A refusal is written down too: whoever was answered 202 asks for its receipt.
        let decided = if reused { Err(ErrorCode::IdempotencyKeyReused) } else { self.apply(update) };
        let receipt = decided.unwrap_or_else(|code| receipt_of(update, ReceiptStatus::Rejected(code), self.now));
        self.plan.ledger.push(LedgerRow { update: index, receipt: receipt.clone() });
        self.remember(update.submission, update.user, update.idempotency_key.clone(), update.content_hash, receipt);
        self.by_submission[&update.submission].clone()
    }

    fn apply(&mut self, update: &ScoreUpdate) -> Result<Receipt, ErrorCode> {
        let board = self.boards.get_mut(&update.board).ok_or(ErrorCode::UnknownBoard)?;
        let username = self.usernames.get(&update.user).ok_or(ErrorCode::NotFound)?;
        let rule = board.rules.get(&update.action_type).ok_or(ErrorCode::UnknownActionType)?;
        let daily_key = (update.board.clone(), update.user, update.action_type.clone());
        let today = self.daily_points.get(&daily_key).copied().unwrap_or(0).saturating_add(update.points);
        if today > rule.daily_cap {
            return Err(ErrorCode::DailyCapReached);
        }
        let score_key = (update.board.clone(), update.user);
        let score = self.scores.get(&score_key).copied().unwrap_or(0).saturating_add(update.points);
        if score.abs() > SCORE_LIMIT {
            return Err(ErrorCode::PointsOutOfRange);
        }
        board.version = board.version.next();
        let version = board.version;
        let row = ScoreRow {
            user: update.user,
            username: Arc::clone(username),
            score: Some(score),
            version,
            updated_at: self.now,
        };
        self.scores.insert(score_key.clone(), score);
        self.rows.insert(score_key, row);
        self.daily_points.insert(daily_key.clone(), today);
        self.daily_changed.insert(daily_key, today);
        let mut receipt = receipt_of(update, ReceiptStatus::Applied, self.now);
        receipt.new_score = Some(score);
        receipt.version = Some(version);
        Ok(receipt)
    }

    fn finish(mut self) -> Plan {
        let mut rows: HashMap<BoardId, Vec<ScoreRow>> = HashMap::new();
        for ((board, _), row) in self.rows {
            rows.entry(board).or_default().push(row);
        }
        for (board, mut rows) in rows {
            rows.sort_by_key(|row| row.version);
            let (from, facts) = (self.started_at[&board], &self.boards[&board]);
            self.plan.changes.push(BoardChange { epoch: facts.epoch.clone(), from, to: facts.version, rows, board });
        }
        // The order in which boards are locked, so that writers cannot deadlock.
        self.plan.changes.sort_by(|a, b| a.board.cmp(&b.board));
        self.plan.daily = self
            .daily_changed
            .into_iter()
            .map(|((board, user, action_type), points)| DailyPoints { board, user, action_type, points })
            .collect();
        self.plan
    }
}

fn receipt_of(update: &ScoreUpdate, status: ReceiptStatus, now: Timestamp) -> Receipt {
    Receipt {
        status,
        action_id: update.action_id.clone(),
        board: update.board.clone(),
        action_type: update.action_type.clone(),
        points: update.points,
        new_score: None,
        version: None,
        decided_at: Some(now),
    }
}

fn rejection(receipt: Receipt, now: Timestamp) -> Outcome {
    if receipt.status == ReceiptStatus::Rejected(ErrorCode::IdempotencyKeyReused) {
        return Outcome::KeyReused;
    }
    let retry_after_s =
        (receipt.status == ReceiptStatus::Rejected(ErrorCode::DailyCapReached)).then(|| now.seconds_to_next_utc_day());
    Outcome::Rejected { receipt, retry_after_s }
}
