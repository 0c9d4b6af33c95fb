//! Durations, as percentiles.

use hdrhistogram::Histogram;
use serde::Serialize;

/// The longest duration that is told apart, microseconds: two minutes.
const LONGEST_US: u64 = 120_000_000;

/// Microseconds, three significant digits.
#[derive(Clone, Debug)]
pub(crate) struct Durations(Histogram<u64>);

impl Default for Durations {
    fn default() -> Self {
        // The bounds are constants that the library takes.
        match Histogram::new_with_bounds(1, LONGEST_US, 3) {
            Ok(histogram) => Self(histogram),
            Err(error) => unreachable!("constant bounds: {error}"),
        }
    }
}

impl Durations {
    pub(crate) fn record(&mut self, us: u64) {
        self.record_n(us, 1);
    }

    pub(crate) fn record_n(&mut self, us: u64, count: u64) {
        self.0.saturating_record_n(us, count);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        // Both have the same bounds, so nothing is out of range.
        let _ = self.0.add(&other.0);
    }

    pub(crate) fn summary(&self) -> Percentiles {
        let ms = |us: u64| us as f64 / 1_000.0;
        let at = |quantile: f64| ms(self.0.value_at_quantile(quantile));
        Percentiles {
            count: self.0.len(),
            mean_ms: self.0.mean() / 1_000.0,
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: ms(self.0.max()),
        }
    }
}

/// A summary, milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Percentiles {
    pub(crate) count: u64,
    pub(crate) mean_ms: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p90_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
    pub(crate) max_ms: f64,
}

impl Percentiles {
    /// In one cell of a table.
    pub(crate) fn in_words(&self) -> String {
        if self.count == 0 {
            return "–".to_owned();
        }
        let Self { p50_ms, p90_ms, p99_ms, p999_ms, max_ms, count, .. } = self;
        format!(
            "p50 {p50_ms:.1}  p90 {p90_ms:.1}  p99 {p99_ms:.1}  p99.9 {p999_ms:.1}  max {max_ms:.1} ms  (n {count})"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_what_was_recorded() {
        let mut durations = Durations::default();
        for ms in 1..=1_000 {
            durations.record(ms * 1_000);
        }
        let told = durations.summary();
        let near = |found: f64, expected: f64| assert!((found / expected - 1.0).abs() < 0.002, "{found} {expected}");
        near(told.p50_ms, 500.0);
        near(told.p99_ms, 990.0);
        near(told.max_ms, 1_000.0);
        assert_eq!(told.count, 1_000);
    }

    #[test]
    fn what_is_longer_than_the_longest_still_counts() {
        let mut durations = Durations::default();
        durations.record_n(u64::MAX, 3);
        let mut sum = Durations::default();
        sum.add(&durations);
        assert_eq!(sum.summary().count, 3);
        assert!(sum.summary().max_ms >= 119_000.0);
    }

    #[test]
    fn nothing_is_a_dash() {
        assert_eq!(Durations::default().summary().in_words(), "–");
    }
}
