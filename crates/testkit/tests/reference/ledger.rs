//! A ledger in one lock: `decide` and two lists.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use common::account::{
    Account, NewAccount, NewSession, OpenSession, PasswordChange, RefreshRotation, Revocation, Rotated,
};
use common::board::{ActionRule, Board};
use common::clock::{Timestamp, UtcDay};
use common::decision::{
    BoardFacts, DecidedAction, Facts, NotReviewed, Plan, Watch, decide, decide_refusal, decide_review,
};
use common::error_code::ErrorCode;
use common::ids::{ActionId, ActionType, BoardId, SessionId, UserId};
use common::ports::{
    AccountCreated, Accounts, AppliedBatch, Audit, AuditQuery, AuditRow, BoardDigest, Deviation, Gain, HeldAction,
    Ledger, Profiles, ReviewOrder, Reviewed, Reviews, RowPage, StoreError, Truth,
};
use common::receipt::{Receipt, ReceiptStatus, TURNED_DOWN};
use common::score_update::{ScoreUpdate, TraceContext};
use common::standing::{Entry, Neighborhood, ScoreRow, TopList};
use common::state::{BoardHead, StatePoint, Version};
use testkit::contract::ledger_and_truth::BoardMaker;
use testkit::fixtures::epoch;

#[derive(Default)]
struct State {
    boards: BTreeMap<BoardId, (Version, Vec<ActionRule>)>,
    users: HashMap<UserId, Arc<str>>,
    scores: BTreeMap<(BoardId, UserId), ScoreRow>,
    daily: HashMap<(BoardId, UserId, ActionType, UtcDay), i64>,
    decided: Vec<DecidedAction>,
    rows: Vec<AuditRow>,
}

#[derive(Default)]
pub(crate) struct MemoryLedger(Mutex<State>);

impl State {
    fn facts(&self, now: Timestamp) -> Facts {
        let facts_of = |(version, rules): &(Version, Vec<ActionRule>)| BoardFacts {
            epoch: epoch("e1"),
            version: *version,
            rules: rules.iter().map(|rule| (rule.action_type.clone(), rule.clone())).collect(),
        };
        let scored = |(key, row): (&(BoardId, UserId), &ScoreRow)| row.score.map(|score| (key.clone(), score));
        let today = self.daily.iter().filter(|((.., day), _)| *day == now.utc_day());
        Facts {
            boards: self.boards.iter().map(|(id, board)| (id.clone(), facts_of(board))).collect(),
            usernames: self.users.clone(),
            scores: self.scores.iter().filter_map(scored).collect(),
            daily_points: today.map(|((b, u, t, _), points)| ((b.clone(), *u, t.clone()), *points)).collect(),
            decided: self.decided.clone(),
        }
    }

    fn top(&self, board: &BoardId) -> Option<TopList> {
        let (version, _) = self.boards.get(board)?;
        let mut rows: Vec<_> = self.scores.iter().filter(|(key, _)| key.0 == *board).map(|(_, row)| row).collect();
        rows.sort_by_key(|row| row.key());
        let entry = |(row, rank): (&ScoreRow, u64)| Entry {
            user: row.user,
            username: row.username.clone(),
            score: row.score.expect("no tombstones"),
            rank,
            updated_at: row.updated_at,
            version: row.version,
        };
        let state = StatePoint { epoch: epoch("e1"), version: *version };
        Some(TopList { state, entries: rows.into_iter().zip(1..).map(entry).collect() })
    }
}

#[async_trait]
impl Ledger for MemoryLedger {
    async fn apply_watched(
        &self,
        updates: &[ScoreUpdate],
        watch: &Watch,
        now: Timestamp,
    ) -> Result<AppliedBatch, StoreError> {
        let mut state = self.0.lock().expect("the lock");
        let plan = decide(updates, state.facts(now), watch, now);
        Ok(state.write(updates, plan, now))
    }

    async fn gains(&self, after: Timestamp, until: Timestamp, slot_ms: i64) -> Result<Vec<Gain>, StoreError> {
        let state = self.0.lock().expect("the lock");
        let mut sums: BTreeMap<(BoardId, UserId, i64), i64> = BTreeMap::new();
        for row in state.rows.iter().filter(|row| row.reviewer.is_none() && row.update.points > 0) {
            let at = row.decided_at();
            if row.receipt.status == ReceiptStatus::Applied && at > after && at <= until {
                let slot = at.as_millis().div_euclid(slot_ms) * slot_ms;
                *sums.entry((row.update.board.clone(), row.update.user, slot)).or_default() += row.update.points;
            }
        }
        let gain = |((board, user, slot), points)| Gain { board, user, slot: Timestamp::from_millis(slot), points };
        Ok(sums.into_iter().map(gain).collect())
    }

    async fn record_refusal(&self, update: &ScoreUpdate, code: ErrorCode, now: Timestamp) -> Result<(), StoreError> {
        let mut state = self.0.lock().expect("the lock");
        let plan = decide_refusal(update, &state.facts(now), code, now);
        state.write(std::slice::from_ref(update), plan, now);
        Ok(())
    }
}

#[async_trait]
impl Audit for MemoryLedger {
    async fn story(&self, query: &AuditQuery) -> Result<Vec<AuditRow>, StoreError> {
        let state = self.0.lock().expect("the lock");
        let fits = |row: &&AuditRow| {
            (query.user.is_some() || query.action.is_some())
                && query.user.is_none_or(|user| row.update.user == user)
                && query.board.as_ref().is_none_or(|board| row.update.board == *board)
                && query.action.as_ref().is_none_or(|action| row.update.action_id == *action)
        };
        let mut story: Vec<_> = state.rows.iter().rev().filter(fits).take(query.limit).cloned().collect();
        story.reverse();
        Ok(story)
    }

    async fn deviations(&self, board: &BoardId, limit: usize) -> Result<Vec<Deviation>, StoreError> {
        let state = self.0.lock().expect("the lock");
        let mut ledger: BTreeMap<UserId, (i128, Version)> = BTreeMap::new();
        for decided in state.decided.iter().filter(|decided| decided.receipt.board == *board) {
            if let Some(version) = decided.receipt.version {
                let sum = ledger.entry(decided.user).or_default();
                *sum = (sum.0 + i128::from(decided.receipt.points), sum.1.max(version));
            }
        }
        let held: BTreeMap<UserId, (Option<i64>, Version)> = state
            .scores
            .iter()
            .filter(|((of, _), _)| of == board)
            .map(|((_, user), row)| (*user, (row.score, row.version)))
            .collect();
        let users: std::collections::BTreeSet<UserId> = held.keys().chain(ledger.keys()).copied().collect();
        let deviation =
            |user: UserId| Deviation { user, held: held.get(&user).copied(), ledger: ledger.get(&user).copied() };
        let agrees = |one: &Deviation| {
            one.held.map(|(score, version)| (score.map(i128::from), version))
                == one.ledger.map(|(points, version)| (Some(points), version))
        };
        Ok(users.into_iter().map(deviation).filter(|one| !agrees(one)).take(limit).collect())
    }
}

#[async_trait]
impl Reviews for MemoryLedger {
    async fn held(&self, limit: usize) -> Result<Vec<HeldAction>, StoreError> {
        let state = self.0.lock().expect("the lock");
        let held = |row: &&AuditRow| {
            let same = |other: &&AuditRow| {
                (other.update.user, &other.update.board, &other.update.action_id)
                    == (row.update.user, &row.update.board, &row.update.action_id)
            };
            row.receipt.status == ReceiptStatus::Pending
                && !state.rows.iter().filter(same).any(|other| other.reviewer.is_some())
        };
        Ok(state.rows.iter().filter(held).take(limit).cloned().collect())
    }

    async fn review(&self, order: &ReviewOrder) -> Result<Result<Reviewed, NotReviewed>, StoreError> {
        let mut state = self.0.lock().expect("the lock");
        let held = |row: &&AuditRow| row.submission() == order.held && row.receipt.status == ReceiptStatus::Pending;
        let Some(held) = state.rows.iter().find(held) else { return Ok(Err(NotReviewed::NotHeld)) };
        let action = ScoreUpdate { submission: order.submission, ..held.update.clone() };
        let facts = state.facts(order.now);
        Ok(decide_review(&action, facts, order.verdict, &order.reviewer, order.now).map(|plan| {
            let receipt = plan.ledger[0].receipt.clone();
            let change = state.write(&[action], plan, order.now).changes.pop();
            Reviewed { receipt, change }
        }))
    }
}

impl State {
    fn write(&mut self, updates: &[ScoreUpdate], plan: Plan, now: Timestamp) -> AppliedBatch {
        let state = self;
        for row in plan.ledger {
            let mut update = updates[row.update].clone();
            state.decided.push(DecidedAction {
                submission: update.submission,
                user: update.user,
                idempotency_key: update.idempotency_key.clone(),
                content_hash: update.content_hash,
                receipt: row.receipt.clone(),
            });
            update.trace = TraceContext::default();
            state.rows.push(AuditRow { update, receipt: row.receipt, reviewer: row.reviewer });
        }
        for daily in plan.daily {
            state.daily.insert((daily.board, daily.user, daily.action_type, now.utc_day()), daily.points);
        }
        for change in &plan.changes {
            state.boards.get_mut(&change.board).expect("it was decided on").0 = change.to;
            for row in &change.rows {
                state.scores.insert((change.board.clone(), row.user), row.clone());
            }
        }
        AppliedBatch { outcomes: plan.outcomes, changes: plan.changes }
    }
}

impl MemoryLedger {
    fn page(
        &self,
        board: &BoardId,
        limit: usize,
        takes: impl Fn(&ScoreRow) -> bool,
        order: impl Fn(&ScoreRow) -> u128,
    ) -> Option<RowPage> {
        let state = self.0.lock().expect("the lock");
        let (version, _) = state.boards.get(board)?;
        let ours = state.scores.iter().filter(|((of, _), row)| of == board && takes(row));
        let mut rows: Vec<_> = ours.map(|(_, row)| row.clone()).collect();
        rows.sort_by_key(order);
        let complete = rows.len() <= limit;
        rows.truncate(limit);
        let head = BoardHead { board: board.clone(), state: StatePoint { epoch: epoch("e1"), version: *version } };
        Some(RowPage { head, rows, complete })
    }
}

#[async_trait]
impl Truth for MemoryLedger {
    async fn boards(&self) -> Result<Vec<Board>, StoreError> {
        let heads = self.heads().await?;
        let state = self.0.lock().expect("the lock");
        let board = |head: BoardHead| Board { rules: state.boards[&head.board].1.clone(), stream_token: false, head };
        Ok(heads.into_iter().map(board).collect())
    }

    async fn heads(&self) -> Result<Vec<BoardHead>, StoreError> {
        let state = self.0.lock().expect("the lock");
        let head = |(board, (version, _)): (&BoardId, &(Version, _))| BoardHead {
            board: board.clone(),
            state: StatePoint { epoch: epoch("e1"), version: *version },
        };
        Ok(state.boards.iter().map(head).collect())
    }

    async fn top(&self, board: &BoardId, limit: usize) -> Result<Option<TopList>, StoreError> {
        let mut top = self.0.lock().expect("the lock").top(board);
        top.iter_mut().for_each(|top| top.entries.truncate(limit));
        Ok(top)
    }

    async fn neighborhood(
        &self,
        board: &BoardId,
        user: UserId,
        around: usize,
    ) -> Result<Option<Neighborhood<Entry>>, StoreError> {
        let Some(top) = self.0.lock().expect("the lock").top(board) else { return Ok(None) };
        let Some(at) = top.entries.iter().position(|entry| entry.user == user) else { return Ok(None) };
        let from = at.saturating_sub(around);
        let lines = top.entries[from..(at + around + 1).min(top.entries.len())].to_vec();
        Ok(Some(Neighborhood { state: top.state, lines, own: at - from }))
    }

    async fn rows_above(&self, board: &BoardId, after: Version, limit: usize) -> Result<Option<RowPage>, StoreError> {
        Ok(self.page(board, limit, |row| row.version > after, |row| row.version.0.into()))
    }

    async fn rows_by_user(
        &self,
        board: &BoardId,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<Option<RowPage>, StoreError> {
        Ok(self.page(board, limit, |row| Some(row.user) > after, |row| row.user.0.as_u128()))
    }

    async fn receipt(&self, user: UserId, board: &BoardId, action: &ActionId) -> Result<Option<Receipt>, StoreError> {
        let state = self.0.lock().expect("the lock");
        let ours = |d: &&DecidedAction| d.user == user && d.receipt.board == *board && d.receipt.action_id == *action;
        let decided: Vec<_> = state.decided.iter().filter(ours).collect();
        let first = |status| decided.iter().find(|d| d.receipt.status == status);
        let found = first(ReceiptStatus::Applied)
            .or(first(ReceiptStatus::Rejected(TURNED_DOWN)))
            .or(first(ReceiptStatus::Pending));
        Ok(found.or(decided.last()).map(|d| d.receipt.clone()))
    }

    async fn digest(&self, board: &BoardId) -> Result<Option<BoardDigest>, StoreError> {
        let state = self.0.lock().expect("the lock");
        let Some(top) = state.top(board) else { return Ok(None) };
        let applied = |d: &&DecidedAction| d.receipt.board == *board && d.receipt.status == ReceiptStatus::Applied;
        Ok(Some(BoardDigest {
            players: top.entries.len() as u64,
            score_sum: top.entries.iter().map(|entry| i128::from(entry.score)).sum(),
            ledger_points: state.decided.iter().filter(applied).map(|d| i128::from(d.receipt.points)).sum(),
            ledger_actions: state.decided.iter().filter(applied).count() as u64,
        }))
    }
}

#[async_trait]
impl Profiles for MemoryLedger {
    async fn usernames(&self, users: &[UserId]) -> Result<HashMap<UserId, Arc<str>>, StoreError> {
        let state = self.0.lock().expect("the lock");
        Ok(users.iter().filter_map(|user| Some((*user, state.users.get(user)?.clone()))).collect())
    }
}

#[async_trait]
impl BoardMaker for MemoryLedger {
    async fn make(&self, board: &BoardId, rules: &[ActionRule]) {
        self.0.lock().expect("the lock").boards.insert(board.clone(), (Version::ZERO, rules.to_vec()));
    }
}

/// Only what the suites of the ledger and of the profiles need; the suite of accounts is for real stores.
#[async_trait]
impl Accounts for MemoryLedger {
    async fn create(&self, account: NewAccount) -> Result<AccountCreated, StoreError> {
        self.0.lock().expect("the lock").users.insert(account.user, Arc::from(account.username.as_str()));
        Ok(AccountCreated::Created)
    }

    async fn find(&self, _: &str) -> Result<Option<Account>, StoreError> {
        unimplemented!("not asked for by these suites")
    }

    async fn open_session(&self, _: NewSession) -> Result<bool, StoreError> {
        unimplemented!("not asked for by these suites")
    }

    async fn rotate(&self, _: RefreshRotation) -> Result<Rotated, StoreError> {
        unimplemented!("not asked for by these suites")
    }

    async fn revoke(&self, _: SessionId, _: Timestamp) -> Result<bool, StoreError> {
        unimplemented!("not asked for by these suites")
    }

    async fn revocations(&self, _: Timestamp) -> Result<Vec<Revocation>, StoreError> {
        unimplemented!("not asked for by these suites")
    }

    async fn change_password(&self, _: PasswordChange) -> Result<Option<Vec<SessionId>>, StoreError> {
        unimplemented!("not asked for by these suites")
    }

    async fn revoke_all(&self, _: UserId, _: Timestamp) -> Result<Vec<SessionId>, StoreError> {
        unimplemented!("not asked for by these suites")
    }

    async fn sessions(&self, _: UserId, _: Timestamp) -> Result<Vec<OpenSession>, StoreError> {
        unimplemented!("not asked for by these suites")
    }

    async fn username(&self, user: UserId) -> Result<Option<String>, StoreError> {
        Ok(self.0.lock().expect("the lock").users.get(&user).map(|name| name.to_string()))
    }
}
