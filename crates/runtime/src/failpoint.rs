//! Points at which a test lets a process die by `kill -9`; see `docs/IDEMPOTENCY.md`. Only in builds with debug
//! assertions: a release build has neither the variable nor the check.

/// Names the point at which the process dies, when it first gets there.
pub const VARIABLE: &str = "SCOREBOARD_FAILPOINT";

/// Dies here by SIGKILL if the environment names this point; the caller's work stops at once.
#[cfg(debug_assertions)]
pub fn reached(point: &str) {
    use std::process::{Command, abort, id};
    use std::sync::OnceLock;

    static CHOSEN: OnceLock<Option<String>> = OnceLock::new();
    if CHOSEN.get_or_init(|| std::env::var(VARIABLE).ok()).as_deref() != Some(point) {
        return;
    }
    // An abort where there is no `kill`: as sudden.
    if !Command::new("kill").args(["-s", "KILL", &id().to_string()]).status().is_ok_and(|status| status.success()) {
        abort();
    }
    loop {
        std::thread::park();
    }
}

/// Nothing: there are no such points in a release build.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub const fn reached(_: &str) {}
