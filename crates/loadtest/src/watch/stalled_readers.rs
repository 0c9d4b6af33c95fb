//! What clients that stop reading may cost: a bounded time, a bounded memory, and nothing of what the others get.

use super::run::{Observed, RunPlan, Stretch};
use super::summary::latency;
use crate::percentiles::{Durations, Percentiles};
use crate::report::Report;

/// The server has given a reader up by then, microseconds.
const GONE_WITHIN_US: u64 = 15_000_000;

/// The server's memory grows by less, bytes.
const MOST_MEMORY_BYTES: u64 = 50_000_000;

/// The others' p99 may be so many times that of before, and so many milliseconds: two stretches of the same length differ
/// by that much on a machine that the load generator shares.
const P99_FACTOR: f64 = 1.5;
const P99_SLACK_MS: f64 = 20.0;

/// What a stretch with readers that had stopped came to.
#[derive(Clone, Debug)]
struct Cost {
    stalled: usize,
    /// How long the server held each that it gave up, microseconds.
    held_us: Vec<u64>,
    /// What its memory had grown by at the most, bytes; `None` where it was not watched.
    grown_bytes: Option<u64>,
    /// How long the others' frames took before and with them.
    others: [Percentiles; 2],
}

/// Tells what they cost, and what of it is too much.
pub(super) fn tell(report: &mut Report, plan: &RunPlan, observed: &Observed, with: &Stretch, others: [Percentiles; 2]) {
    let findings = &observed.findings;
    let held = |at: &u64| at.saturating_sub(findings.stalled_at_us);
    let before = observed.measured.server_at_end.resident_bytes;
    let cost = Cost {
        stalled: plan.watch.stalled,
        held_us: findings.evicted_us.iter().map(held).collect(),
        grown_bytes: (!plan.server_pids.is_empty()).then(|| with.server_peak_bytes.saturating_sub(before)),
        others,
    };
    let mut after = Durations::default();
    cost.held_us.iter().for_each(|us| after.record(*us));
    report.number("evicted", "stalled readers given up by the server", cost.held_us.len() as u64);
    latency(report, "evictedAfterMs", "… after", &after);
    if let Some(grown) = cost.grown_bytes {
        let mib = grown as f64 / f64::from(1 << 20);
        report.line("stalledPeakMemoryMib", "server memory grew by at most", format!("{mib:.1} MiB"), mib);
    }
    let [before, with] = cost.others.map(|frames| frames.p99_ms);
    report.line(
        "othersP99Ms",
        "the others' p99, before → with them",
        format!("{before:.1} → {with:.1} ms"),
        vec![before, with],
    );
    cost.problems().into_iter().for_each(|problem| report.problem(problem));
}

impl Cost {
    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let late = self.held_us.iter().filter(|us| **us > GONE_WITHIN_US).count();
        let held = self.stalled.saturating_sub(self.held_us.len());
        if late + held > 0 {
            let seconds = GONE_WITHIN_US / 1_000_000;
            problems.push(format!(
                "{} sockets that do not read were held for longer than {seconds} s, {held} of them to the end",
                late + held
            ));
        }
        if let Some(grown) = self.grown_bytes.filter(|grown| *grown > MOST_MEMORY_BYTES) {
            let mb = |bytes: u64| bytes / 1_000_000;
            let most = mb(MOST_MEMORY_BYTES);
            problems.push(format!("the server's memory grew by {} MB for them: at most {most}", mb(grown)));
        }
        let [before, with] = &self.others;
        let most = before.p99_ms * P99_FACTOR + P99_SLACK_MS;
        if before.count == 0 || with.count == 0 {
            problems.push("no frame was measured before or with them, so nothing is known of the others".to_owned());
        } else if with.p99_ms > most {
            let (p99, before) = (with.p99_ms, before.p99_ms);
            problems.push(format!("the others' p99 went from {before:.1} to {p99:.1} ms: at most {most:.1}"));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn p99(p99_ms: f64) -> Percentiles {
        Percentiles { count: 1_000, p99_ms, ..Percentiles::default() }
    }

    fn cost() -> Cost {
        Cost {
            stalled: 2,
            held_us: vec![10_000_000, GONE_WITHIN_US],
            grown_bytes: Some(MOST_MEMORY_BYTES),
            others: [p99(60.0), p99(110.0)],
        }
    }

    #[test]
    fn what_they_may_cost_is_no_problem() {
        assert_eq!(cost().problems(), [""; 0]);
        assert_eq!(Cost { grown_bytes: None, ..cost() }.problems(), [""; 0]);
    }

    #[test]
    fn whatever_they_cost_beyond_that_is_told() {
        let wrong = [
            (Cost { held_us: vec![10_000_000], ..cost() }, "1 sockets that do not read were held"),
            (Cost { held_us: vec![10_000_000, GONE_WITHIN_US + 1], ..cost() }, "1 sockets that do not read were held"),
            (Cost { grown_bytes: Some(MOST_MEMORY_BYTES + 1_000_000), ..cost() }, "memory grew by 51 MB"),
            (Cost { others: [p99(60.0), p99(110.1)], ..cost() }, "the others' p99 went from 60.0 to 110.1 ms"),
            (Cost { others: [p99(60.0), Percentiles::default()], ..cost() }, "nothing is known of the others"),
        ];
        for (cost, words) in wrong {
            let problems = cost.problems();
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert!(problems[0].contains(words), "{problems:?}");
        }
    }
}
