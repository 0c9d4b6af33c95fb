//! Why a message cannot be taken into the domain, and the checks that every conversion shares.

use std::borrow::Cow;

use common::board::SCORE_LIMIT;
use common::clock::Timestamp;
use common::ids::InvalidValue;
use common::state::Version;
use uuid::Uuid;

/// A message from another process does not hold what its type promises. It never will: do not try it again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {reason}")]
pub struct DamagedMessage {
    /// Which field of the protobuf message; `body` for the message as a whole.
    pub field: &'static str,
    /// What is wrong with it, as the end of a sentence.
    pub reason: Cow<'static, str>,
}

impl DamagedMessage {
    /// A message whose `field` is wrong in the way that `reason` says.
    pub fn new(field: &'static str, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { field, reason: reason.into() }
    }

    /// A message that needs `field` and lacks it.
    #[must_use]
    pub const fn missing(field: &'static str) -> Self {
        Self { field, reason: Cow::Borrowed("is missing") }
    }
}

impl From<InvalidValue> for DamagedMessage {
    fn from(invalid: InvalidValue) -> Self {
        Self::new(invalid.field, invalid.expected)
    }
}

impl From<prost::DecodeError> for DamagedMessage {
    fn from(error: prost::DecodeError) -> Self {
        Self::new("body", format!("is not the protobuf message that was announced: {error}"))
    }
}

/// The last millisecond that RFC 3339 can write: 9999-12-31T23:59:59.999Z.
const LAST_MILLISECOND: i64 = 253_402_300_799_999;

pub(crate) fn uuid(field: &'static str, bytes: &[u8]) -> Result<Uuid, DamagedMessage> {
    Uuid::from_slice(bytes).map_err(|_| DamagedMessage::new(field, "must be 16 bytes"))
}

pub(crate) fn score(field: &'static str, score: i64) -> Result<i64, DamagedMessage> {
    if (-SCORE_LIMIT..=SCORE_LIMIT).contains(&score) {
        return Ok(score);
    }
    Err(DamagedMessage::new(field, "must lie within 2^53 - 1 either way"))
}

pub(crate) fn timestamp(field: &'static str, millis: i64) -> Result<Timestamp, DamagedMessage> {
    if (0..=LAST_MILLISECOND).contains(&millis) {
        return Ok(Timestamp::from_millis(millis));
    }
    Err(DamagedMessage::new(field, "must be a time between the years 1970 and 9999"))
}

/// Versions are bigint in the truth: above 2^63 - 1 there are none.
pub(crate) fn version(field: &'static str, version: u64) -> Result<Version, DamagedMessage> {
    if i64::try_from(version).is_ok() {
        return Ok(Version(version));
    }
    Err(DamagedMessage::new(field, "must be at most 2^63 - 1"))
}

pub(crate) fn rank(rank: Option<u64>) -> Result<Option<u64>, DamagedMessage> {
    match rank {
        Some(0) => Err(DamagedMessage::new("rank", "must be at least 1")),
        rank => Ok(rank),
    }
}
