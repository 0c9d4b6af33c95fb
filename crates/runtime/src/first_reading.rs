//! What a process must have read once before it can serve: boards, keys. Readiness waits for it, so that whoever is told
//! "ready" is not refused.

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use common::ports::Dependency;

/// Something that a process reads from a dependency when it starts, as readiness sees it.
pub struct FirstReading<F> {
    what: &'static str,
    source: &'static str,
    setting: &'static str,
    is_done: F,
    /// A board that is added later, say, does not make the process unready again.
    was_done: AtomicBool,
}

impl<F: Fn() -> bool + Send + Sync> FirstReading<F> {
    /// `what` comes from `source`, which is where `setting` says; `is_done` tells whether it has been read.
    pub const fn new(what: &'static str, source: &'static str, setting: &'static str, is_done: F) -> Self {
        Self { what, source, setting, is_done, was_done: AtomicBool::new(false) }
    }
}

#[async_trait]
impl<F: Fn() -> bool + Send + Sync> Dependency for FirstReading<F> {
    fn name(&self) -> &'static str {
        self.what
    }

    fn setting(&self) -> &'static str {
        self.setting
    }

    async fn check(&self) -> Result<(), String> {
        if self.was_done.load(Ordering::Relaxed) || (self.is_done)() {
            self.was_done.store(true, Ordering::Relaxed);
            return Ok(());
        }
        Err(format!("not yet read from {}", self.source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_read_once_stays_read() {
        let there = AtomicBool::new(false);
        let boards = FirstReading::new("boards", "the database", "X", || there.load(Ordering::Relaxed));
        assert_eq!(boards.check().await, Err("not yet read from the database".to_owned()));
        there.store(true, Ordering::Relaxed);
        assert_eq!(boards.check().await, Ok(()));
        there.store(false, Ordering::Relaxed);
        assert_eq!(boards.check().await, Ok(()));
    }
}
