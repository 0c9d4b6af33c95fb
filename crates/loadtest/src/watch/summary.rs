//! What a run of watchers comes to, as a report.

use std::time::Duration;

use serde_json::{Value, json};

use super::arrivals::{first_to_last, update_to_frame};
use super::run::{Observed, RunPlan, Stretch};
use super::stalled_readers;
use crate::percentiles::{Durations, Percentiles};
use crate::report::Report;

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
    let before = latencies(&mut report, observed, "", &observed.measured);
    if let Some(stalled) = &observed.stalled {
        stretch(&mut report, plan, "stalled", stalled);
        let with = latencies(&mut report, observed, "stalled", stalled);
        stalled_readers::tell(&mut report, plan, observed, stalled, [before, with]);
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

pub(super) fn latency(report: &mut Report, key: &str, label: &str, durations: &Durations) {
    let summary = durations.summary();
    report.line(key, label, summary.in_words(), json!(summary));
}

/// Returns how long frames took: from the update's intended start where updates were sent, else from the first recipient
/// to the last.
fn latencies(report: &mut Report, observed: &Observed, prefix: &str, stretch: &Stretch) -> Percentiles {
    let arrivals = &observed.findings.arrivals;
    let in_window: Vec<_> = arrivals.iter().filter(|frame| frame.began_within(&stretch.window_us)).cloned().collect();
    let last = first_to_last(&in_window, observed.opened / 2);
    latency(report, &key(prefix, "firstToLastMs"), &label(prefix, "tick: first → last recipient"), &last);
    if let Some(load) = &observed.load {
        let found = update_to_frame(arrivals, &load.updates, stretch.window_us.clone());
        let words = label(prefix, "intended start → frame");
        latency(report, &key(prefix, "intendedToFrameMs"), &words, &found.since_intended);
        latency(report, &key(prefix, "answerToFrameMs"), &label(prefix, "200 → frame"), &found.since_answered);
        return found.since_intended.summary();
    }
    last.summary()
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
    if findings.failed_attempts > 0 {
        report.number("failedAttempts", "connections that failed before they were open", findings.failed_attempts);
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
        other => other.to_string(),
    }
}
