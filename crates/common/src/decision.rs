//! What a batch of updates does to the truth, decided from facts that were read inside the same transaction.
//!
//! Pure, so that SQLite and PostgreSQL decide alike and a model can check both: the adapters lock the boards,
//! read [`Facts`], call [`decide`] and write the [`Plan`].

use std::collections::HashMap;
use std::sync::Arc;

use crate::board::{ActionRule, Proof, SCORE_LIMIT};
use crate::clock::Timestamp;
use crate::error_code::ErrorCode;
use crate::ids::{ActionId, ActionType, BoardId, IdempotencyKey, SubmissionId, UserId};
use crate::receipt::{Outcome, Receipt, ReceiptStatus, TURNED_DOWN};
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

/// How many points users may gain before an action is put in quarantine, as the worker worked it out.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    /// The boards that are watched; on the others nothing is held.
    pub boards: HashMap<BoardId, BoardWatch>,
}

/// The bound of one board.
#[derive(Clone, Debug, Default)]
pub struct BoardWatch {
    /// The most points that a user may have gained in the window, the action in question included.
    pub limit: i64,
    /// What users gained in the window so far; absent for nothing.
    pub gained: HashMap<UserId, i64>,
}

/// What a person decides about an action in quarantine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Apply it.
    Accept,
    /// Do not.
    Reject,
}

/// Why a review changed nothing.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum NotReviewed {
    /// Nothing of that name is or was in quarantine.
    #[error("there is no such action in quarantine")]
    NotHeld,
    /// Somebody was faster.
    #[error("the action was decided already: {}", .0.status.as_str())]
    Decided(Receipt),
    /// The rules do not let it be applied now; it stays in quarantine.
    #[error("the action cannot be applied now ({0}); it stays in quarantine")]
    Refused(ErrorCode),
}

/// A new row of the ledger.
#[derive(Clone, Debug)]
pub struct LedgerRow {
    /// Which update of the batch.
    pub update: usize,
    /// How it was decided.
    pub receipt: Receipt,
    /// By which person, where it was one.
    pub reviewer: Option<String>,
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
pub fn decide(updates: &[ScoreUpdate], facts: Facts, watch: &Watch, now: Timestamp) -> Plan {
    let mut deciding = Deciding::new(facts, now);
    deciding.watch = watch.clone();
    for (index, update) in updates.iter().enumerate() {
        let outcome = deciding.one(index, update);
        deciding.plan.outcomes.push(outcome);
    }
    deciding.finish()
}

/// Decides a review. `action` is the held action with the submission of the review; `facts` are those of a batch of it.
///
/// # Errors
/// [`NotReviewed`]; then there is nothing to write.
pub fn decide_review(
    action: &ScoreUpdate,
    facts: Facts,
    verdict: Verdict,
    reviewer: &str,
    now: Timestamp,
) -> Result<Plan, NotReviewed> {
    let mut deciding = Deciding::new(facts, now);
    let known = deciding.by_action.get(&(action.board.clone(), action.user, action.action_id.clone()));
    match known {
        None => return Err(NotReviewed::NotHeld),
        Some(receipt) if receipt.status != ReceiptStatus::Pending => return Err(NotReviewed::Decided(receipt.clone())),
        Some(_) => {}
    }
    // Another board's action may have taken the key at the same instant.
    let keyed = action.idempotency_key.as_ref().and_then(|key| deciding.by_key.get(&(action.user, key.clone())));
    if verdict == Verdict::Accept && keyed.is_some_and(|(content, _)| *content != action.content_hash) {
        return Err(NotReviewed::Refused(ErrorCode::IdempotencyKeyReused));
    }
    let receipt = match verdict {
        Verdict::Accept => deciding.apply(action).map_err(NotReviewed::Refused)?,
        Verdict::Reject => receipt_of(action, ReceiptStatus::Rejected(TURNED_DOWN), now),
    };
    deciding.plan.ledger.push(LedgerRow { update: 0, receipt, reviewer: Some(reviewer.to_owned()) });
    Ok(deciding.finish())
}

struct Deciding {
    watch: Watch,
    now: Timestamp,
    boards: HashMap<BoardId, BoardFacts>,
    usernames: HashMap<UserId, Arc<str>>,
    scores: HashMap<(BoardId, UserId), i64>,
    daily_points: HashMap<(BoardId, UserId, ActionType), i64>,
    by_submission: HashMap<SubmissionId, Outcome>,
    /// Actions that were applied, or are or were in quarantine.
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
            watch: Watch::default(),
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
        let action = (receipt.board.clone(), user, receipt.action_id.clone());
        // What the action came to in the end: a review comes after the quarantine.
        if finality(receipt.status) > self.by_action.get(&action).map_or(0, |known| finality(known.status)) {
            self.by_action.insert(action, receipt.clone());
        }
        if matches!(receipt.status, ReceiptStatus::Applied | ReceiptStatus::Pending)
            && let Some(key) = key
        {
            let known = self.by_key.get(&(user, key.clone())).map_or(0, |(_, receipt)| finality(receipt.status));
            if finality(receipt.status) > known {
                self.by_key.insert((user, key), (content, receipt.clone()));
            }
        }
        self.by_submission.insert(submission, outcome_of(receipt, false, self.now));
    }

    fn one(&mut self, index: usize, update: &ScoreUpdate) -> Outcome {
        let action = (update.board.clone(), update.user, update.action_id.clone());
        let known = self.by_action.get(&action);
        if let Some(outcome) = self.by_submission.get(&update.submission) {
            return match (outcome, known) {
                // It was held, and perhaps reviewed since.
                (Outcome::Quarantined { .. }, Some(receipt)) => outcome_of(receipt.clone(), true, self.now),
                _ => outcome.clone(),
            };
        }
        let keyed = update.idempotency_key.as_ref().and_then(|key| self.by_key.get(&(update.user, key.clone())));
        let reused = match keyed {
            Some((content, receipt)) if *content == update.content_hash => {
                // The same content is the same action, which may have been reviewed since.
                return outcome_of(known.unwrap_or(receipt).clone(), true, self.now);
            }
            Some(_) => true,
            None => false,
        };
        // The ledger has one row for each action that was decided: whoever asks again is told of that one, and repeats
        // cannot make the ledger grow.
        if let Some(receipt) = known.filter(|_| !reused).cloned() {
            return match receipt.status {
                ReceiptStatus::Applied => Outcome::DuplicateAction { receipt },
                // In quarantine, or turned down there.
                _ => outcome_of(receipt, true, self.now),
            };
        }
        // A refusal is written down too: whoever was answered 202 asks for its receipt, and the audit tells it.
        let decided = if reused { Err(ErrorCode::IdempotencyKeyReused) } else { self.hold_or_apply(update) };
        let receipt = decided.unwrap_or_else(|code| receipt_of(update, ReceiptStatus::Rejected(code), self.now));
        self.plan.ledger.push(LedgerRow { update: index, receipt: receipt.clone(), reviewer: None });
        self.remember(update.submission, update.user, update.idempotency_key.clone(), update.content_hash, receipt);
        self.by_submission[&update.submission].clone()
    }

    /// Applies an update that would be applied anyway, unless its user gains points far faster than the others.
    fn hold_or_apply(&mut self, update: &ScoreUpdate) -> Result<Receipt, ErrorCode> {
        // Who judges pace judges what players say of themselves. A game server's word is that the points were earned; where
        // the bearer token suffices, the points are fixed and the day is capped.
        let rule = self.boards.get(&update.board).and_then(|board| board.rules.get(&update.action_type));
        let trusted = update.proof == Proof::Issuer || rule.is_some_and(|rule| rule.proof == Proof::Token);
        let Some(watch) = self.watch.boards.get(&update.board).filter(|_| update.points > 0 && !trusted) else {
            return self.apply(update);
        };
        let gained = watch.gained.get(&update.user).copied().unwrap_or(0).saturating_add(update.points);
        if gained > watch.limit {
            self.check(update)?;
            return Ok(receipt_of(update, ReceiptStatus::Pending, self.now));
        }
        let receipt = self.apply(update)?;
        if let Some(watch) = self.watch.boards.get_mut(&update.board) {
            watch.gained.insert(update.user, gained);
        }
        Ok(receipt)
    }

    /// Whether the rules let an update be applied: the sum of its day and the score after it.
    fn check(&self, update: &ScoreUpdate) -> Result<(i64, i64), ErrorCode> {
        let board = self.boards.get(&update.board).ok_or(ErrorCode::UnknownBoard)?;
        if !self.usernames.contains_key(&update.user) {
            return Err(ErrorCode::NotFound);
        }
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
        Ok((today, score))
    }

    fn apply(&mut self, update: &ScoreUpdate) -> Result<Receipt, ErrorCode> {
        let (today, score) = self.check(update)?;
        let daily_key = (update.board.clone(), update.user, update.action_type.clone());
        let score_key = (update.board.clone(), update.user);
        let board = self.boards.get_mut(&update.board).ok_or(ErrorCode::UnknownBoard)?;
        let username = self.usernames.get(&update.user).ok_or(ErrorCode::NotFound)?;
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

/// Puts on record that an update was decided against outside of a batch. Nothing where the update has its row already.
#[must_use]
pub fn decide_refusal(update: &ScoreUpdate, facts: &Facts, code: ErrorCode, now: Timestamp) -> Plan {
    if facts.decided.iter().any(|action| action.submission == update.submission) {
        return Plan::default();
    }
    let receipt = receipt_of(update, ReceiptStatus::Rejected(code), now);
    Plan { ledger: vec![LedgerRow { update: 0, receipt, reviewer: None }], ..Plan::default() }
}

/// The receipt of an update that did not move a score.
#[must_use]
pub fn receipt_of(update: &ScoreUpdate, status: ReceiptStatus, now: Timestamp) -> Receipt {
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

/// How much a status says about what an action came to. A refusal of the rules uses nothing up and says nothing.
const fn finality(status: ReceiptStatus) -> u8 {
    match status {
        ReceiptStatus::Applied => 3,
        ReceiptStatus::Rejected(TURNED_DOWN) => 2,
        ReceiptStatus::Pending => 1,
        ReceiptStatus::Rejected(_) => 0,
    }
}

fn outcome_of(receipt: Receipt, replayed: bool, now: Timestamp) -> Outcome {
    match receipt.status {
        ReceiptStatus::Applied => Outcome::Applied { receipt, replayed },
        ReceiptStatus::Pending => Outcome::Quarantined { receipt },
        ReceiptStatus::Rejected(ErrorCode::IdempotencyKeyReused) => Outcome::KeyReused,
        ReceiptStatus::Rejected(code) => {
            let retry_after_s = (code == ErrorCode::DailyCapReached).then(|| now.seconds_to_next_utc_day());
            Outcome::Rejected { receipt, retry_after_s }
        }
    }
}
