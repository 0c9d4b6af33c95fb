//! Which sessions were ended lately, read from the store piece by piece: what validation of a token asks.

use std::collections::HashMap;

use common::account::Revocation;
use common::clock::Timestamp;
use common::ids::SessionId;
use parking_lot::Mutex;
use runtime::access_token::ACCESS_TOKEN_LIFETIME_S;

/// A token of a session that was ended longer ago has expired. Milliseconds.
const MEMORY_MS: i64 = ACCESS_TOKEN_LIFETIME_S as i64 * 1000;

/// How far back the next read overlaps the last one: commits become visible late, clocks of nodes differ.
/// Milliseconds.
const OVERLAP_MS: i64 = 30_000;

/// Holds what was ended within a token's lifetime, and nothing older.
#[derive(Default)]
pub(crate) struct RevocationMemory {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    ended: HashMap<SessionId, Timestamp>,
    read_at: Option<Timestamp>,
    pruned_at: Option<Timestamp>,
}

impl RevocationMemory {
    /// From when on the store has to be asked.
    pub(crate) fn unread_since(&self, now: Timestamp) -> Timestamp {
        let oldest = now.plus_millis(-MEMORY_MS);
        self.known.lock().read_at.map_or(oldest, |read_at| read_at.plus_millis(-OVERLAP_MS).max(oldest))
    }

    /// Takes over what the store said at `now`.
    pub(crate) fn take_over(&self, revocations: &[Revocation], now: Timestamp) {
        let mut known = self.known.lock();
        known.ended.extend(revocations.iter().map(|revocation| (revocation.session, revocation.revoked_at)));
        known.read_at = known.read_at.max(Some(now));
        // Once a minute: pruning reads everything.
        if known.pruned_at.is_none_or(|pruned_at| now.millis_since(pruned_at) >= 60_000) {
            known.pruned_at = Some(now);
            let oldest = now.plus_millis(-MEMORY_MS);
            known.ended.retain(|_, revoked_at| *revoked_at >= oldest);
        }
    }

    pub(crate) fn is_ended(&self, session: SessionId) -> bool {
        self.known.lock().ended.contains_key(&session)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn remembers_for_a_tokens_lifetime_and_reads_only_what_is_new() {
        let memory = RevocationMemory::default();
        let start = Timestamp::from_millis(10 * MEMORY_MS);
        let session = SessionId(Uuid::from_u128(1));
        assert_eq!(memory.unread_since(start), start.plus_millis(-MEMORY_MS));

        memory.take_over(&[Revocation { session, revoked_at: start }], start);
        assert!(memory.is_ended(session));
        assert!(!memory.is_ended(SessionId(Uuid::from_u128(2))));
        assert_eq!(memory.unread_since(start.plus_millis(5)), start.plus_millis(-OVERLAP_MS));

        let last = start.plus_millis(MEMORY_MS);
        memory.take_over(&[], last);
        assert!(memory.is_ended(session), "its last token may still live");
        memory.take_over(&[], last.plus_millis(60_000));
        assert!(!memory.is_ended(session), "forgotten");
    }
}
