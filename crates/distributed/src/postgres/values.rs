//! How the domain's values stand in columns.

use std::error::Error;
use std::sync::Arc;

use bytes::BytesMut;
use common::board::{ActionRule, Proof};
use common::clock::{Timestamp, UtcDay};
use common::error_code::ErrorCode;
use common::ids::{ActionId, ActionType, BoardId, InvalidValue, UserId};
use common::ports::StoreError;
use common::receipt::{Receipt, ReceiptStatus};
use common::standing::ScoreRow;
use common::state::{Epoch, StatePoint, Version};
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, accepts, to_sql_checked};

use super::error::unreadable;

/// PostgreSQL counts from 2000-01-01.
const EPOCH_MILLIS: i64 = 946_684_800_000;
const EPOCH_DAYS: i32 = 10_957;

/// A `timestamptz`: on the wire microseconds since 2000-01-01, UTC.
#[derive(Clone, Copy, Debug)]
pub(super) struct PgTime(pub(super) Timestamp);

impl ToSql for PgTime {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        self.0.as_millis().saturating_sub(EPOCH_MILLIS).saturating_mul(1000).to_sql(&Type::INT8, out)
    }

    accepts!(TIMESTAMPTZ);
    to_sql_checked!();
}

impl<'a> FromSql<'a> for PgTime {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        let micros = i64::from_sql(&Type::INT8, raw)?;
        Ok(Self(Timestamp::from_millis(micros.div_euclid(1000).saturating_add(EPOCH_MILLIS))))
    }

    accepts!(TIMESTAMPTZ);
}

/// A `date`: on the wire days since 2000-01-01.
#[derive(Clone, Copy, Debug)]
pub(super) struct PgDay(pub(super) UtcDay);

impl ToSql for PgDay {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        self.0.0.saturating_sub(EPOCH_DAYS).to_sql(&Type::INT4, out)
    }

    accepts!(DATE);
    to_sql_checked!();
}

/// A column as a value.
///
/// # Errors
/// `Refused` when the column is of another type or NULL: the schema is not the one that this binary was made for.
pub(super) fn column<'a, T: FromSql<'a>>(row: &'a Row, index: usize) -> Result<T, StoreError> {
    row.try_get(index).map_err(|error| unreadable(error.into()))
}

/// A text column as a checked identifier.
pub(super) fn parsed<T>(
    row: &Row,
    index: usize,
    parse: impl FnOnce(&str) -> Result<T, InvalidValue>,
) -> Result<T, StoreError> {
    parse(column(row, index)?).map_err(|error| unreadable(error.into()))
}

/// A non-negative count or version.
pub(super) fn unsigned(row: &Row, index: usize) -> Result<u64, StoreError> {
    u64::try_from(column::<i64>(row, index)?).map_err(|error| unreadable(error.into()))
}

pub(super) fn version(row: &Row, index: usize) -> Result<Version, StoreError> {
    unsigned(row, index).map(Version)
}

/// `bigint` for a version; beyond it nothing can be stored, and no board gets there.
pub(super) fn version_column(version: Version) -> i64 {
    i64::try_from(version.0).unwrap_or(i64::MAX)
}

pub(super) fn epoch(row: &Row, index: usize) -> Result<Epoch, StoreError> {
    Epoch::parse(column(row, index)?).ok_or_else(|| unreadable("an epoch is malformed".into()))
}

/// Columns `epoch, version` from `first` on.
pub(super) fn state_point(row: &Row, first: usize) -> Result<StatePoint, StoreError> {
    Ok(StatePoint { epoch: epoch(row, first)?, version: version(row, first + 1)? })
}

pub(super) fn time(row: &Row, index: usize) -> Result<Timestamp, StoreError> {
    column::<PgTime>(row, index).map(|time| time.0)
}

/// Columns `action_type, proof, min_points, max_points, default_points, daily_cap` from `first` on.
pub(super) fn rule(row: &Row, first: usize) -> Result<ActionRule, StoreError> {
    Ok(ActionRule {
        action_type: parsed(row, first, ActionType::parse)?,
        proof: Proof::parse(column(row, first + 1)?).ok_or_else(|| unreadable("unknown proof".into()))?,
        min_points: column(row, first + 2)?,
        max_points: column(row, first + 3)?,
        default_points: column(row, first + 4)?,
        daily_cap: column(row, first + 5)?,
    })
}

/// Columns `user_id, username, score, version, updated_at` from `first` on; `None` where an outer join found nothing.
pub(super) fn score_row(row: &Row, first: usize) -> Result<Option<ScoreRow>, StoreError> {
    let Some(user) = column::<Option<uuid::Uuid>>(row, first)? else { return Ok(None) };
    Ok(Some(ScoreRow {
        user: UserId(user),
        username: Arc::from(column::<&str>(row, first + 1)?),
        score: column(row, first + 2)?,
        version: version(row, first + 3)?,
        updated_at: time(row, first + 4)?,
    }))
}

/// Columns `outcome, action_id, board, action_type, points, score_after, version, decided_at` from `first` on.
pub(super) fn receipt(row: &Row, first: usize) -> Result<Receipt, StoreError> {
    // A code that a newer binary wrote is still a refusal.
    let status =
        ReceiptStatus::of_ledger(column(row, first)?).unwrap_or(ReceiptStatus::Rejected(ErrorCode::InvalidRequest));
    let version = column::<Option<i64>>(row, first + 6)?;
    Ok(Receipt {
        status,
        action_id: parsed(row, first + 1, ActionId::parse)?,
        board: parsed(row, first + 2, BoardId::parse)?,
        action_type: parsed(row, first + 3, ActionType::parse)?,
        points: column(row, first + 4)?,
        new_score: column(row, first + 5)?,
        version: version.map(u64::try_from).transpose().map_err(|error| unreadable(error.into()))?.map(Version),
        decided_at: Some(time(row, first + 7)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_reads_what_it_writes_also_before_2000() {
        for millis in [-1, 0, 946_684_799_999, EPOCH_MILLIS, 1_795_168_800_123] {
            let mut out = BytesMut::new();
            PgTime(Timestamp::from_millis(millis)).to_sql(&Type::TIMESTAMPTZ, &mut out).unwrap();
            assert_eq!(PgTime::from_sql(&Type::TIMESTAMPTZ, &out).unwrap().0.as_millis(), millis);
        }
    }

    #[test]
    fn a_day_is_counted_from_2000() {
        let mut out = BytesMut::new();
        let day = Timestamp::from_millis(EPOCH_MILLIS).utc_day();
        PgDay(day).to_sql(&Type::DATE, &mut out).unwrap();
        assert_eq!(out[..], 0_i32.to_be_bytes());
    }
}
