//! What a run of watchers comes to, as a report.

use std::time::Duration;

use serde_json::{Value, json};

use super::arrivals::{first_to_last, update_to_frame};
use super::run::{Observed, RunPlan, Stretch};
use crate::percentiles::Durations;
use crate::report::Report;

/// Between so many equal parts of the time from the first loss to the last return, returns are counted.
const RETURN_BUCKETS: usize = 10;

/// The report of a run.
pub(crate) fn report(title: &str, plan: &RunPlan, observed: &Observed) -> Report {
    let mut report = Report::new(title);
    let wanted = plan.watch.sockets as u64;
    let opened = format!("{} of {wanted} in {:.1} s", observed.opened, observed.open_took.as_secs_f64());
    report.line("sockets", "sockets", opened, observed.opened);
    if observed.opened < wanted {
        report.problem(format!("{} sockets were not opened", wanted - observed.opened));
    }
    memory(&mut report, plan, observed);
    stretch(&mut report, plan, "", &observed.measured);
    latencies(&mut report, observed, "", &observed.measured);
    if let Some(stalled) = &observed.stalled {
        stretch(&mut report, plan, "stalled", stalled);
        latencies(&mut report, observed, "stalled", stalled);
        evictions(&mut report, plan, observed, stalled);
    }
    if plan.watch.reconnect {
        returns(&mut report, observed);
    }
    correctness(&mut report, plan, observed);
    if let Some(load) = &observed.load {
        report.line("outcomes", "answers", in_words(&json!(load.outcomes)), json!(load.outcomes));
        latency(&mut report, "updateMs", "update → answer", &load.answered);
        if load.promises.committed == 0 {
            report.problem("no update was committed, so nothing was to be seen");
        }
    }
    report
}

/// CPU time of the server for one frame, microseconds.
pub(crate) fn cpu_per_delivery_us(stretch: &Stretch) -> Option<f64> {
    (stretch.frames > 0).then(|| stretch.server_cpu.as_secs_f64() * 1e6 / stretch.frames as f64)
}

fn memory(report: &mut Report, plan: &RunPlan, observed: &Observed) {
    if plan.server_pids.is_empty() || observed.opened == 0 {
        return;
    }
    let per_socket = |full: u64, empty: u64| full.saturating_sub(empty) as f64 / observed.opened as f64 / 1_024.0;
    let resident = per_socket(observed.full.resident_bytes, observed.empty.resident_bytes);
    let proportional = per_socket(observed.full.proportional_bytes, observed.empty.proportional_bytes);
    let words =
        format!("{resident:.1} KiB resident, {proportional:.1} KiB proportional (the kernel's share is not in it)");
    report.line("memoryPerSocketKib", "server memory per socket", words, resident);
    let own = observed.own_memory_bytes / 1_024;
    report.line("ownMemoryKib", "memory of this program", format!("{own} KiB"), own);
}

fn key(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}:{name}") }
}

fn label(prefix: &str, words: &str) -> String {
    if prefix.is_empty() { words.to_owned() } else { format!("{prefix}: {words}") }
}

fn stretch(report: &mut Report, plan: &RunPlan, prefix: &str, stretch: &Stretch) {
    let rate = stretch.frames as f64 / stretch.seconds().max(0.001);
    let words = format!("{} in {:.1} s, {rate:.0}/s", stretch.frames, stretch.seconds());
    report.line(&key(prefix, "frames"), &label(prefix, "frames delivered"), words, stretch.frames);
    if stretch.frames > 0 {
        let bytes = stretch.bytes as f64 / stretch.frames as f64;
        report.line(
            &key(prefix, "bytesPerDelivery"),
            &label(prefix, "bytes per delivery"),
            format!("{bytes:.0}"),
            bytes,
        );
    }
    let share = |cpu: Duration| cpu.as_secs_f64() / stretch.seconds().max(0.001) * 100.0;
    if let Some(us) = cpu_per_delivery_us(stretch).filter(|_| !plan.server_pids.is_empty()) {
        let words = format!("{us:.2} µs ({:.0} % of a core)", share(stretch.server_cpu));
        report.line(&key(prefix, "cpuPerDeliveryUs"), &label(prefix, "server CPU per delivery"), words, us);
    }
    let own = share(stretch.own_cpu);
    report.line(&key(prefix, "ownCpuPercent"), &label(prefix, "CPU of this program"), format!("{own:.0} %"), own);
}

fn latency(report: &mut Report, key: &str, label: &str, durations: &Durations) {
    let summary = durations.summary();
    report.line(key, label, summary.in_words(), json!(summary));
}

fn latencies(report: &mut Report, observed: &Observed, prefix: &str, stretch: &Stretch) {
    let arrivals = &observed.findings.arrivals;
    let in_window: Vec<_> = arrivals.iter().filter(|frame| frame.began_within(&stretch.window_us)).cloned().collect();
    let last = first_to_last(&in_window, observed.opened / 2);
    latency(report, &key(prefix, "firstToLastMs"), &label(prefix, "tick: first → last recipient"), &last);
    if let Some(load) = &observed.load {
        let found = update_to_frame(arrivals, &load.updates, stretch.window_us.clone());
        let words = label(prefix, "intended start → frame");
        latency(report, &key(prefix, "intendedToFrameMs"), &words, &found.since_intended);
        latency(report, &key(prefix, "answerToFrameMs"), &label(prefix, "200 → frame"), &found.since_answered);
    }
}

fn evictions(report: &mut Report, plan: &RunPlan, observed: &Observed, stalled: &Stretch) {
    let findings = &observed.findings;
    let mut after = Durations::default();
    findings.evicted_us.iter().for_each(|at| after.record(at.saturating_sub(findings.stalled_at_us)));
    report.number("evicted", "stalled readers given up by the server", findings.evicted_us.len() as u64);
    latency(report, "evictedAfterMs", "… after", &after);
    let missing = plan.watch.stalled.saturating_sub(findings.evicted_us.len());
    if missing > 0 {
        report.problem(format!("{missing} sockets that do not read are still held by the server"));
    }
    let grown = stalled.server_at_end.resident_bytes as f64 - observed.measured.server_at_end.resident_bytes as f64;
    let mib = grown / f64::from(1 << 20);
    report.line("stalledMemoryMib", "server memory grew by", format!("{mib:.1} MiB"), mib);
}

fn returns(report: &mut Report, observed: &Observed) {
    let findings = &observed.findings;
    let (lost, back) = (findings.lost_us.len() as u64, findings.reopened_us.len() as u64);
    report.number("lost", "connections lost", lost);
    report.number("reopened", "connections that came back", back);
    report.number("failedAttempts", "attempts that failed", findings.failed_attempts);
    report.number("resumedByUpdate", "resumed with an update or delta", findings.resumed_by_update);
    report.number("resumedBySnapshot", "resumed with a snapshot", findings.resumed_by_snapshot);
    let asked = findings.asked_waits_ms.iter().max().copied().unwrap_or(0);
    let words = format!("{} sockets were told one, the longest {asked} ms", findings.asked_waits_ms.len());
    report.line("longestAskedWaitMs", "wait from server:bye", words, asked);
    let Some(first) = findings.lost_us.iter().min() else { return };
    let counts = spread(&findings.reopened_us, *first);
    report.line("returns", "returns over time", in_words(&counts), counts);
}

/// How many came back in each equal part of the time from `first` to the last return.
fn spread(reopened_us: &[u64], first: u64) -> Value {
    let Some(last) = reopened_us.iter().max().filter(|last| **last > first) else { return json!([]) };
    let width = (last - first).div_ceil(RETURN_BUCKETS as u64).max(1);
    let mut counts = [0u64; RETURN_BUCKETS];
    for at in reopened_us {
        let bucket = usize::try_from(at.saturating_sub(first) / width).unwrap_or(0);
        counts[bucket.min(RETURN_BUCKETS - 1)] += 1;
    }
    let part = |(index, count): (usize, &u64)| json!({"untilMs": (index as u64 + 1) * width / 1_000, "count": count});
    counts.iter().enumerate().map(part).collect()
}

fn correctness(report: &mut Report, plan: &RunPlan, observed: &Observed) {
    let findings = &observed.findings;
    report.number("violations", "frames that break the contract", observed.problems);
    if observed.problems > 0 {
        report.problem(format!("{} frames break the contract", observed.problems));
    }
    findings.examples.iter().for_each(|example| report.problem(example.as_str()));
    report.number("stale", "scoreboard:stale", findings.stale);
    report.number("snapshots", "snapshots (the first ones included)", findings.snapshots);
    if !findings.refused.is_empty() {
        report.line("refused", "handshakes refused", in_words(&json!(findings.refused)), json!(findings.refused));
    }
    if !findings.closed.is_empty() {
        let words = in_words(&json!(findings.closed));
        report.line("closed", "connections ended, by close code", words, json!(findings.closed));
    }
    if findings.missing_at_end > 0 {
        report.problem(format!("{} sockets were not open at the end", findings.missing_at_end));
    }
    let reading = plan.watch.sockets - plan.watch.stalled.min(plan.watch.sockets);
    match observed.behind {
        Some(0) => report.line("behind", "at the truth", format!("all {reading} that read"), 0),
        Some(behind) => {
            let behind = behind.min(reading as u64);
            report.line("behind", "not at the truth", behind.to_string(), behind);
            report.problem(format!("{behind} sockets do not show what /top shows"));
        }
        None => {}
    }
}

fn in_words(value: &Value) -> String {
    match value {
        Value::Object(pairs) => {
            pairs.iter().map(|(key, value)| format!("{key}: {value}")).collect::<Vec<_>>().join(", ")
        }
        Value::Array(parts) => {
            let part = |part: &Value| format!("≤{} ms: {}", part["untilMs"], part["count"]);
            parts.iter().map(part).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returns_are_counted_over_their_time() {
        let told = spread(&[1_000, 2_000, 11_000, 11_000], 1_000);
        let counts: Vec<u64> = told.as_array().unwrap().iter().map(|part| part["count"].as_u64().unwrap()).collect();
        assert_eq!(counts, [1, 1, 0, 0, 0, 0, 0, 0, 0, 2]);
        assert_eq!(told[9]["untilMs"], 10);
        assert_eq!(spread(&[], 5), json!([]));
    }
}
