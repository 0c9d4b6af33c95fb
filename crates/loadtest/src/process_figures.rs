//! What a process has used, as `/proc` tells. Memory that the kernel keeps for a connection (socket buffers, page
//! tables) belongs to no process and is not in these figures.

use std::time::Duration;

use crate::failure::Failure;

/// Ticks per second in `/proc/PID/stat`: a constant of Linux's interface to user space on every architecture that we
/// build for.
const TICKS_PER_SECOND: u64 = 100;

/// The state of a process at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProcessFigures {
    /// User and system time of all its threads.
    pub(crate) cpu: Duration,
    /// Resident memory, bytes.
    pub(crate) resident_bytes: u64,
    /// Resident memory where a page that n processes share counts as 1/n, bytes; 0 where it cannot be read.
    pub(crate) proportional_bytes: u64,
    /// Open descriptors; 0 where they cannot be read.
    pub(crate) descriptors: u64,
}

/// The sum over processes.
///
/// # Errors
/// [`Failure::System`] when one of them is gone.
pub(crate) fn of_all(pids: &[u32]) -> Result<ProcessFigures, Failure> {
    let mut sum = ProcessFigures::default();
    for pid in pids {
        let one = of(*pid)?;
        sum.cpu += one.cpu;
        sum.resident_bytes += one.resident_bytes;
        sum.proportional_bytes += one.proportional_bytes;
        sum.descriptors += one.descriptors;
    }
    Ok(sum)
}

/// Resident memory of processes, bytes, as cheaply as it can be had: for looking many times a second. One that cannot be
/// read counts as none.
pub(crate) fn resident_bytes_of_all(pids: &[u32]) -> u64 {
    let status = |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    pids.iter().map(|pid| kib_of(&status(pid), "VmRSS:")).sum()
}

fn of(pid: u32) -> Result<ProcessFigures, Failure> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path).map_err(Failure::system(format!("{path} cannot be read")))?;
    let cpu = cpu_of(&stat).ok_or_else(|| Failure::server(path, "not the expected form"))?;
    // These two are for information only: a process of another user shows neither.
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, |entries| entries.count() as u64);
    Ok(ProcessFigures {
        cpu,
        resident_bytes: kib_of(&status, "VmRSS:"),
        proportional_bytes: kib_of(&rollup, "Pss:"),
        descriptors,
    })
}

/// Fields 14 and 15 of `/proc/PID/stat`; the second field, in parentheses, can hold anything.
fn cpu_of(stat: &str) -> Option<Duration> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field: &&str| field.parse::<u64>().ok());
    let ticks = ticks(11)? + ticks(12)?;
    Some(Duration::from_millis(ticks * (1_000 / TICKS_PER_SECOND)))
}

fn kib_of(text: &str, name: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    value.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1_024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_does_not_shift_the_fields() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 4 0 12345 1000 50";
        assert_eq!(cpu_of(stat), Some(Duration::from_secs(3)));
        assert_eq!(cpu_of("nonsense"), None);
    }

    #[test]
    fn memory_is_read_from_its_line() {
        assert_eq!(kib_of("Name:\tx\nVmRSS:\t   2048 kB\n", "VmRSS:"), 2 << 20);
        assert_eq!(kib_of("", "VmRSS:"), 0);
    }

    #[test]
    fn our_own_figures_can_be_read() {
        let own = of_all(&[std::process::id()]).unwrap();
        assert!(own.resident_bytes > 0 && own.descriptors > 0);
        let again = resident_bytes_of_all(&[std::process::id()]);
        assert!(again > own.resident_bytes / 2, "{again} against {}", own.resident_bytes);
    }
}
