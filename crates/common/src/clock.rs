//! Time as the contract writes it: RFC 3339, UTC, milliseconds.

use std::fmt;

use crate::ids::InvalidValue;

/// Milliseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// A UTC day, counted from the Unix epoch; daily caps are kept by it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct UtcDay(pub i32);

const MILLIS_PER_DAY: i64 = 86_400_000;

impl Timestamp {
    /// From milliseconds since the Unix epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Reads RFC 3339 with any offset.
    ///
    /// # Errors
    /// [`InvalidValue`] for the field `timestamp`.
    pub fn parse_rfc3339(text: &str) -> Result<Self, InvalidValue> {
        const EXPECTED: InvalidValue =
            InvalidValue::new("timestamp", "must be an RFC 3339 time such as 2026-11-20T10:00:00.000Z");
        // jiff reads more than RFC 3339 (a zone annotation in brackets, a space for the T).
        if text.len() > 40 || text.as_bytes().get(10).is_none_or(|t| !matches!(t, b'T' | b't')) || text.contains('[') {
            return Err(EXPECTED);
        }
        text.parse::<jiff::Timestamp>().map(|t| Self(t.as_millisecond())).map_err(|_| EXPECTED)
    }

    /// This many milliseconds later (earlier when negative).
    #[must_use]
    pub const fn plus_millis(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// Milliseconds from `earlier` to this.
    #[must_use]
    pub const fn millis_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The UTC day that it falls on.
    #[must_use]
    pub fn utc_day(self) -> UtcDay {
        UtcDay(i32::try_from(self.0.div_euclid(MILLIS_PER_DAY)).unwrap_or(i32::MAX))
    }

    /// Whole seconds, rounded up, until the next UTC day begins: the honest `Retry-After` of a daily cap.
    #[must_use]
    pub fn seconds_to_next_utc_day(self) -> u64 {
        let left_ms = MILLIS_PER_DAY - self.0.rem_euclid(MILLIS_PER_DAY);
        u64::try_from((left_ms + 999) / 1000).unwrap_or(1)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(time) => write!(f, "{time:.3}"),
            // Outside the years that RFC 3339 can write; nothing of ours gets there.
            Err(_) => write!(f, "{}ms", self.0),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where the present comes from: the system in services, a hand in tests.
pub trait Clock: Send + Sync {
    /// The present.
    fn now(&self) -> Timestamp;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_the_contract_form() {
        let t = Timestamp::parse_rfc3339("2026-11-20T10:00:00.000Z").unwrap();
        assert_eq!(t.to_string(), "2026-11-20T10:00:00.000Z");
        assert_eq!(Timestamp::parse_rfc3339("2026-11-20T12:00:00+02:00").unwrap(), t);
        for bad in
            ["", "2026-11-20", "2026-11-20 10:00:00Z", "2026-11-20T10:00:00", "1763632800", "2026-11-20T10:00:00Z[UTC]"]
        {
            assert!(Timestamp::parse_rfc3339(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn days_turn_at_midnight_utc() {
        let t = Timestamp::parse_rfc3339("2026-11-20T23:59:59.001Z").unwrap();
        assert_eq!(t.seconds_to_next_utc_day(), 1);
        assert_eq!(t.plus_millis(999).utc_day().0, t.utc_day().0 + 1);
    }
}
