//! What the ledger's transaction knows before it decides.

use std::collections::HashMap;
use std::sync::Arc;

use common::clock::Timestamp;
use common::decision::{BoardFacts, DecidedAction, Facts};
use common::ids::{BoardId, IdempotencyKey, SubmissionId, UserId};
use common::ports::StoreError;
use common::score_update::{ContentHash, ScoreUpdate};
use futures_util::join;
use tokio_postgres::{Row, Statement};
use uuid::Uuid;

use super::error::unreadable;
use super::lease::{Lease, Params};
use super::statements::{
    FACT_DAILY_POINTS, FACT_DECIDED, FACT_DECIDED_V1, FACT_RULES, FACT_SCORES, FACT_USERNAMES, LOCK_BOARDS,
};
use super::values::{PgDay, column, epoch, parsed, receipt, rule, version};

/// How a transaction of ours begins: what must not change under it is locked, so every statement may see the newest
/// commits. Those of the facts have to: they run after the lock was waited for.
pub(super) const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

/// What the ledger's table can hold: this binary also works on the schema before its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum LedgerSchema {
    /// Without addresses and reviews: nothing can be held.
    One,
    /// With them.
    Two,
}

/// The updates as the columns that the look-ups take.
struct Columns<'a> {
    users: Vec<Uuid>,
    submissions: Vec<Uuid>,
    boards: Vec<&'a str>,
    actions: Vec<&'a str>,
    types: Vec<&'a str>,
    keys: Vec<Option<&'a str>>,
}

impl<'a> Columns<'a> {
    fn of(updates: &'a [ScoreUpdate]) -> Self {
        Self {
            users: updates.iter().map(|u| u.user.0).collect(),
            submissions: updates.iter().map(|u| u.submission.0).collect(),
            boards: updates.iter().map(|u| u.board.as_str()).collect(),
            actions: updates.iter().map(|u| u.action_id.as_str()).collect(),
            types: updates.iter().map(|u| u.action_type.as_str()).collect(),
            keys: updates.iter().map(|u| u.idempotency_key.as_ref().map(IdempotencyKey::as_str)).collect(),
        }
    }
}

/// The rows of each look-up.
struct Rows {
    boards: Vec<Row>,
    rules: Vec<Row>,
    usernames: Vec<Row>,
    scores: Vec<Row>,
    daily: Vec<Row>,
    decided: Vec<Row>,
}

/// Begins the transaction, locks the boards and reads the facts: one round trip. The server works through the
/// statements in order, so the facts are read after the lock was granted, each in a snapshot of that time.
pub(super) async fn begin_and_read(
    lease: &Lease,
    updates: &[ScoreUpdate],
    schema: LedgerSchema,
    now: Timestamp,
) -> Result<Facts, StoreError> {
    let decided = match schema {
        LedgerSchema::One => FACT_DECIDED_V1,
        LedgerSchema::Two => FACT_DECIDED,
    };
    let statements =
        lease.prepare([LOCK_BOARDS, FACT_RULES, FACT_USERNAMES, FACT_SCORES, FACT_DAILY_POINTS, decided]).await?;
    let rows = exchange(lease, &statements, &Columns::of(updates), PgDay(now.utc_day())).await?;
    facts_of(updates, &rows)
}

async fn exchange(
    lease: &Lease,
    statements: &[Statement; 6],
    c: &Columns<'_>,
    today: PgDay,
) -> Result<Rows, StoreError> {
    let client = lease.client()?;
    let [lock_boards, rules, usernames, scores, daily, decided] = statements;
    let (board_params, user_params): (&Params<'_>, &Params<'_>) = (&[&c.boards], &[&c.users]);
    let score_params: &Params<'_> = &[&c.boards, &c.users];
    let daily_params: &Params<'_> = &[&c.boards, &c.users, &c.types, &today];
    let decided_params: &Params<'_> = &[&c.users, &c.submissions, &c.boards, &c.actions, &c.keys];
    lease.transaction_begins();
    // Each future sends when it is first polled, and they are polled in this order. All are waited for, as in
    // `write_and_commit`: the first error in this order is the cause of the others.
    let answers = async {
        let (begun, boards, rules, usernames, scores, daily, decided) = join!(
            client.batch_execute(BEGIN),
            client.query(lock_boards, board_params),
            client.query(rules, board_params),
            client.query(usernames, user_params),
            client.query(scores, score_params),
            client.query(daily, daily_params),
            client.query(decided, decided_params),
        );
        begun?;
        let (boards, rules) = (boards?, rules?);
        Ok(Rows { boards, rules, usernames: usernames?, scores: scores?, daily: daily?, decided: decided? })
    };
    lease.exchange(Box::pin(answers)).await
}

fn facts_of(updates: &[ScoreUpdate], rows: &Rows) -> Result<Facts, StoreError> {
    let mut facts = Facts { boards: boards_of(&rows.boards, &rows.rules)?, ..Facts::default() };
    for row in &rows.usernames {
        facts.usernames.insert(UserId(column(row, 0)?), Arc::from(column::<&str>(row, 1)?));
    }
    for row in &rows.scores {
        let update = asked_by(updates, row)?;
        facts.scores.insert((update.board.clone(), update.user), column(row, 1)?);
    }
    for row in &rows.daily {
        let update = asked_by(updates, row)?;
        facts.daily_points.insert((update.board.clone(), update.user, update.action_type.clone()), column(row, 1)?);
    }
    facts.decided = rows.decided.iter().map(decided_action).collect::<Result<_, _>>()?;
    Ok(facts)
}

fn boards_of(boards: &[Row], rules: &[Row]) -> Result<HashMap<BoardId, BoardFacts>, StoreError> {
    let mut facts = HashMap::with_capacity(boards.len());
    for row in boards {
        let board = BoardFacts { epoch: epoch(row, 1)?, version: version(row, 2)?, rules: HashMap::new() };
        facts.insert(parsed(row, 0, BoardId::parse)?, board);
    }
    for row in rules {
        let rule = rule(row, 1)?;
        // A board that appeared after the lock was taken is not ours to move: it counts as unknown.
        if let Some(board) = facts.get_mut(&parsed(row, 0, BoardId::parse)?) {
            board.rules.insert(rule.action_type.clone(), rule);
        }
    }
    Ok(facts)
}

/// The update at a row's ordinality, which counts from 1.
fn asked_by<'a>(updates: &'a [ScoreUpdate], row: &Row) -> Result<&'a ScoreUpdate, StoreError> {
    let position = usize::try_from(column::<i64>(row, 0)?).map_err(|error| unreadable(error.into()))?;
    position.checked_sub(1).and_then(|at| updates.get(at)).ok_or_else(|| unreadable("a row of no update".into()))
}

fn decided_action(row: &Row) -> Result<DecidedAction, StoreError> {
    let content: &[u8] = column(row, 3)?;
    let key = column::<Option<&str>>(row, 2)?.map(IdempotencyKey::parse).transpose();
    Ok(DecidedAction {
        submission: SubmissionId(column(row, 0)?),
        user: UserId(column(row, 1)?),
        idempotency_key: key.map_err(|error| unreadable(error.into()))?,
        content_hash: ContentHash(content.try_into().map_err(|_| unreadable("a content hash is not 32 bytes".into()))?),
        receipt: receipt(row, 4)?,
    })
}
