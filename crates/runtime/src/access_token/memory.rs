//! Which tokens were verified already.

use std::collections::HashMap;
use std::mem;

use parking_lot::Mutex;

use super::Claims;

/// A token's digest. SHA-256: a token that was not verified cannot be made to share it.
type Digest = [u8; 32];

/// What verification found.
#[derive(Clone)]
pub(super) struct Verified {
    pub(super) claims: Claims,
    /// The key that did it, for comparison with the keys of the day.
    pub(super) public_key: [u8; 32],
}

/// Bounded: two generations of at most `capacity` tokens. When the young one is full it becomes the old one, and
/// what the old one held is forgotten, unless it was asked for meanwhile. Every step is O(1).
pub(super) struct VerifiedTokens {
    capacity: usize,
    generations: Mutex<Generations>,
}

#[derive(Default)]
struct Generations {
    young: HashMap<Digest, Verified>,
    old: HashMap<Digest, Verified>,
}

impl VerifiedTokens {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, generations: Mutex::default() }
    }

    pub(super) fn find(&self, digest: &Digest) -> Option<Verified> {
        let mut generations = self.generations.lock();
        if let Some(found) = generations.young.get(digest) {
            return Some(found.clone());
        }
        let found = generations.old.remove(digest)?;
        generations.insert(self.capacity, *digest, found.clone());
        Some(found)
    }

    pub(super) fn remember(&self, digest: Digest, verified: Verified) {
        self.generations.lock().insert(self.capacity, digest, verified);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let generations = self.generations.lock();
        generations.young.len() + generations.old.len()
    }
}

impl Generations {
    fn insert(&mut self, capacity: usize, digest: Digest, verified: Verified) {
        if self.young.len() >= capacity {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(digest, verified);
    }
}
