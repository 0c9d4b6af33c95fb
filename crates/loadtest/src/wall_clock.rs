//! The time of day, for the timestamps that are signed.

/// RFC 3339 in UTC with milliseconds, as the contract asks for.
#[allow(clippy::disallowed_methods)] // this program's one reader of the clock: there is nobody who could hand it in
pub(crate) fn timestamp() -> String {
    format!("{:.3}", jiff::Timestamp::now())
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_timestamp_has_milliseconds_and_is_utc() {
        let now = super::timestamp();
        assert_eq!((now.len(), now.ends_with('Z')), (24, true), "{now}");
    }
}
