//! One line on standard error that says how a run goes.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// Where nobody watches, a line a second is enough.
const PLAIN_EVERY: Duration = Duration::from_secs(1);

/// On a terminal the line is rewritten, elsewhere a new one is written once a second.
#[derive(Debug)]
pub(crate) struct Progress {
    terminal: bool,
    told_at: Option<Instant>,
    quiet: bool,
}

impl Progress {
    pub(crate) fn new(quiet: bool) -> Self {
        Self { terminal: std::io::stderr().is_terminal(), told_at: None, quiet }
    }

    pub(crate) fn tell(&mut self, words: &str) {
        let due = self.terminal || self.told_at.is_none_or(|told_at| told_at.elapsed() >= PLAIN_EVERY);
        if self.quiet || !due {
            return;
        }
        self.told_at = Some(Instant::now());
        let mut out = std::io::stderr().lock();
        // A closed standard error is no reason to end a run.
        let _ = if self.terminal { write!(out, "\r\x1b[K{words}") } else { writeln!(out, "{words}") };
        let _ = out.flush();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.terminal && self.told_at.is_some() {
            let _ = write!(std::io::stderr().lock(), "\r\x1b[K");
        }
    }
}
