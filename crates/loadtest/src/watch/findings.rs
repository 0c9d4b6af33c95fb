//! What the sockets of a run saw, beside what [`super::plan::Shared`] counts.

use std::collections::BTreeMap;

use super::arrivals::Arrivals;

/// So many different problems are told word by word.
const MAX_EXAMPLES: usize = 10;

/// Collected by the engine, handed over at its end.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) arrivals: Vec<Arrivals>,
    /// Handshakes that were refused, by status.
    pub(crate) refused: BTreeMap<u16, u64>,
    /// Attempts that ended before the handshake did.
    pub(crate) failed_attempts: u64,
    /// Connections that ended, by close code; 0 for none.
    pub(crate) closed: BTreeMap<u16, u64>,
    pub(crate) stale: u64,
    pub(crate) snapshots: u64,
    /// When sockets that had stopped reading were given up by the server, microseconds.
    pub(crate) evicted_us: Vec<u64>,
    pub(crate) stalled_at_us: u64,
    pub(crate) examples: Vec<String>,
    /// Sockets that were not open at the end, the stalled ones aside.
    pub(crate) missing_at_end: u64,
}

impl Findings {
    pub(super) fn problem(&mut self, words: &str) {
        if self.examples.len() < MAX_EXAMPLES && !self.examples.iter().any(|known| known == words) {
            self.examples.push(words.to_owned());
        }
    }
}
