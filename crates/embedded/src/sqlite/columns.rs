//! Values as they stand in columns, both ways.

use std::sync::Arc;

use common::account::RefreshHash;
use common::board::Proof;
use common::clock::Timestamp;
use common::ids::{ActionId, ActionType, BoardId, IdempotencyKey, InvalidValue, SessionId, SubmissionId, UserId};
use common::receipt::ReceiptStatus;
use common::score_update::{AddressHash, ContentHash};
use common::standing::ScoreRow;
use common::state::{Epoch, Version};
use rusqlite::Row;

use super::failure::Failure;

/// A version as the database's integer.
pub(super) fn stored(version: Version) -> Result<i64, Failure> {
    i64::try_from(version.0).map_err(|_| Failure::TooLarge("version"))
}

/// A count of lines as the database's integer; more than fit are as good as all.
pub(super) fn limit(lines: usize) -> i64 {
    i64::try_from(lines).unwrap_or(i64::MAX)
}

pub(super) fn user(row: &Row<'_>, column: usize) -> Result<UserId, Failure> {
    Ok(UserId(row.get(column)?))
}

pub(super) fn session(row: &Row<'_>, column: usize) -> Result<SessionId, Failure> {
    Ok(SessionId(row.get(column)?))
}

pub(super) fn submission(row: &Row<'_>, column: usize) -> Result<SubmissionId, Failure> {
    Ok(SubmissionId(row.get(column)?))
}

pub(super) fn name(row: &Row<'_>, column: usize) -> Result<Arc<str>, Failure> {
    text(row, column, |text| Some(Arc::from(text)), "username")
}

pub(super) fn time(row: &Row<'_>, column: usize) -> Result<Timestamp, Failure> {
    Ok(Timestamp::from_millis(row.get(column)?))
}

pub(super) fn optional_time(row: &Row<'_>, column: usize) -> Result<Option<Timestamp>, Failure> {
    Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_millis))
}

pub(super) fn version(row: &Row<'_>, column: usize) -> Result<Version, Failure> {
    u64::try_from(row.get::<_, i64>(column)?).map(Version).map_err(|_| Failure::Damaged("version"))
}

pub(super) fn optional_version(row: &Row<'_>, column: usize) -> Result<Option<Version>, Failure> {
    if row.get_ref(column)? == rusqlite::types::ValueRef::Null { Ok(None) } else { version(row, column).map(Some) }
}

pub(super) fn count(row: &Row<'_>, column: usize) -> Result<u64, Failure> {
    u64::try_from(row.get::<_, i64>(column)?).map_err(|_| Failure::Damaged("count"))
}

pub(super) fn epoch(row: &Row<'_>, column: usize) -> Result<Epoch, Failure> {
    text(row, column, Epoch::parse, "epoch")
}

pub(super) fn board(row: &Row<'_>, column: usize) -> Result<BoardId, Failure> {
    text(row, column, valid(BoardId::parse), "board")
}

pub(super) fn action_id(row: &Row<'_>, column: usize) -> Result<ActionId, Failure> {
    text(row, column, valid(ActionId::parse), "action")
}

pub(super) fn action_type(row: &Row<'_>, column: usize) -> Result<ActionType, Failure> {
    text(row, column, valid(ActionType::parse), "action type")
}

pub(super) fn proof(row: &Row<'_>, column: usize) -> Result<Proof, Failure> {
    text(row, column, Proof::parse, "proof")
}

pub(super) fn idempotency_key(row: &Row<'_>, column: usize) -> Result<Option<IdempotencyKey>, Failure> {
    if row.get_ref(column)? == rusqlite::types::ValueRef::Null {
        return Ok(None);
    }
    text(row, column, valid(IdempotencyKey::parse), "idempotency key").map(Some)
}

pub(super) fn content_hash(row: &Row<'_>, column: usize) -> Result<ContentHash, Failure> {
    Ok(ContentHash(row.get(column)?))
}

pub(super) fn address_hash(row: &Row<'_>, column: usize) -> Result<Option<AddressHash>, Failure> {
    Ok(row.get::<_, Option<[u8; 16]>>(column)?.map(AddressHash))
}

pub(super) fn refresh_hash(row: &Row<'_>, column: usize) -> Result<RefreshHash, Failure> {
    Ok(RefreshHash(row.get(column)?))
}

pub(super) fn optional_refresh_hash(row: &Row<'_>, column: usize) -> Result<Option<RefreshHash>, Failure> {
    Ok(row.get::<_, Option<[u8; 32]>>(column)?.map(RefreshHash))
}

pub(super) fn status(row: &Row<'_>, column: usize) -> Result<ReceiptStatus, Failure> {
    text(row, column, ReceiptStatus::of_ledger, "outcome")
}

/// The five columns user, username, score, version, updated_at from `first` on.
pub(super) fn score_row(row: &Row<'_>, first: usize) -> Result<ScoreRow, Failure> {
    Ok(ScoreRow {
        user: user(row, first)?,
        username: name(row, first + 1)?,
        score: row.get(first + 2)?,
        version: version(row, first + 3)?,
        updated_at: time(row, first + 4)?,
    })
}

/// A sum that SQLite's integers cannot hold, from the sums of its high part (`value >> 32`) and its low 32 bits.
pub(super) fn wide_sum(row: &Row<'_>, high: usize, low: usize) -> Result<i128, Failure> {
    let (high, low): (i64, i64) = (row.get(high)?, row.get(low)?);
    Ok((i128::from(high) << 32) + i128::from(low))
}

fn valid<T>(parse: fn(&str) -> Result<T, InvalidValue>) -> impl Fn(&str) -> Option<T> {
    move |text| parse(text).ok()
}

fn text<T>(row: &Row<'_>, column: usize, parse: impl Fn(&str) -> Option<T>, what: &'static str) -> Result<T, Failure> {
    row.get_ref(column)?.as_str().ok().and_then(parse).ok_or(Failure::Damaged(what))
}
