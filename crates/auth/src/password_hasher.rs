//! argon2id, off the async threads and bounded: it takes 19 MiB and a core for some ten milliseconds each time, and
//! anybody may ask for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{self, PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::entropy::{Entropy, NoEntropy};
use crate::metrics::Metrics;

/// OWASP's second choice for argon2id (Password Storage Cheat Sheet): KiB of memory.
const MEMORY_KIB: u32 = 19_456;
/// Passes over the memory.
const PASSES: u32 = 2;
/// Lanes.
const LANES: u32 = 1;
const SALT_BYTES: usize = 16;

/// How many may wait for their turn; at 64 the last one waits about a second.
const MAX_WAITING: usize = 64;

/// A password was not hashed.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// Too many wait already: try again in a second.
    #[error("too many passwords wait to be hashed")]
    Busy,
    /// The stored hash is damaged, or argon2 does not work.
    #[error("argon2 does not hash")]
    Argon2(#[from] password_hash::Error),
    /// The stored hash is no PHC string.
    #[error("a stored password hash is damaged")]
    Damaged(#[source] password_hash::phc::Error),
    /// No salt.
    #[error(transparent)]
    Entropy(#[from] NoEntropy),
    /// The process is stopping, or argon2 panicked.
    #[error("the thread that hashes passwords ended early")]
    Thread(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Hashes and verifies passwords, a few at a time.
pub struct PasswordHasher {
    argon2: Argon2<'static>,
    turns: Arc<Semaphore>,
    at_once: usize,
    waiting: AtomicUsize,
    finished: Arc<AtomicU64>,
    entropy: Arc<dyn Entropy>,
    /// The hash of no password, with the same cost as a real one.
    nobody: String,
    metrics: Metrics,
}

impl PasswordHasher {
    /// Hashes at most `at_once` passwords at a time.
    ///
    /// # Errors
    /// [`HashError`], when the system has no randomness.
    pub(crate) fn new(at_once: usize, entropy: Arc<dyn Entropy>, metrics: Metrics) -> Result<Self, HashError> {
        let at_once = at_once.max(1);
        let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(password_hash::Error::from)?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let (mut salt, mut output) = ([0; SALT_BYTES], [0; Params::DEFAULT_OUTPUT_LEN]);
        entropy.fill(&mut salt)?;
        entropy.fill(&mut output)?;
        let [salt, output] = [STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(output)];
        Ok(Self {
            argon2,
            turns: Arc::new(Semaphore::new(at_once)),
            at_once,
            waiting: AtomicUsize::new(0),
            finished: Arc::default(),
            entropy,
            nobody: format!("$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}${salt}${output}"),
            metrics,
        })
    }

    /// A new hash, in PHC form.
    ///
    /// # Errors
    /// [`HashError`].
    pub async fn hash(&self, password: &str) -> Result<String, HashError> {
        let mut salt = [0; SALT_BYTES];
        self.entropy.fill(&mut salt)?;
        self.take_turn(password, move |argon2, password| {
            let hash: PasswordHash = argon2.hash_password_with_salt(password, &salt)?;
            Ok(hash.to_string())
        })
        .await
    }

    /// Whether the password is the one of `hash`. With `None`, for an account that does not exist, the same work
    /// is done and the answer is no.
    ///
    /// # Errors
    /// [`HashError`].
    pub async fn verify(&self, password: &str, hash: Option<String>) -> Result<bool, HashError> {
        let exists = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.nobody.clone());
        let matches = self
            .take_turn(password, move |argon2, password| {
                let hash = PasswordHash::new(&hash).map_err(HashError::Damaged)?;
                match argon2.verify_password(password, &hash) {
                    Ok(()) => Ok(true),
                    Err(password_hash::Error::PasswordInvalid) => Ok(false),
                    Err(error) => Err(error.into()),
                }
            })
            .await?;
        Ok(matches && exists)
    }

    /// How many passwords were hashed, whatever for, since the start.
    #[must_use]
    pub fn finished(&self) -> u64 {
        self.finished.load(Ordering::Relaxed)
    }

    /// How many passwords wait or are being hashed.
    #[must_use]
    pub fn waiting_or_running(&self) -> usize {
        self.waiting.load(Ordering::Relaxed) + self.at_once.saturating_sub(self.turns.available_permits())
    }

    async fn take_turn<T: Send + 'static>(
        &self,
        password: &str,
        work: impl FnOnce(&Argon2<'static>, &[u8]) -> Result<T, HashError> + Send + 'static,
    ) -> Result<T, HashError> {
        let Some(place) = WaitingPlace::take(&self.waiting) else {
            self.metrics.password_queue_full();
            return Err(HashError::Busy);
        };
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(|e| HashError::Thread(Box::new(e)))?;
        drop(place);
        let password = Zeroizing::new(password.as_bytes().to_vec());
        let (argon2, finished, metrics) = (self.argon2.clone(), Arc::clone(&self.finished), self.metrics.clone());
        let hashing = tokio::task::spawn_blocking(move || {
            // Held by the thread, not by the request: a caller that goes away must not make room for another hash.
            let _turn = turn;
            let started = Instant::now();
            let result = work(&argon2, &password);
            metrics.password_hash(started.elapsed());
            finished.fetch_add(1, Ordering::Relaxed);
            result
        });
        hashing.await.map_err(|error| HashError::Thread(Box::new(error)))?
    }
}

/// A place in the queue, given back when dropped.
struct WaitingPlace<'a>(&'a AtomicUsize);

impl<'a> WaitingPlace<'a> {
    fn take(waiting: &'a AtomicUsize) -> Option<Self> {
        let took = waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < MAX_WAITING).then_some(n + 1));
        took.ok().map(|_| Self(waiting))
    }
}

impl Drop for WaitingPlace<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;
    use crate::entropy::SystemEntropy;

    fn hasher() -> PasswordHasher {
        PasswordHasher::new(2, Arc::new(SystemEntropy), Metrics::new()).unwrap()
    }

    #[tokio::test]
    async fn a_hash_verifies_its_own_password_only() {
        let hasher = hasher();
        let hash = hasher.hash("correct horse").await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(hasher.verify("correct horse", Some(hash.clone())).await.unwrap());
        assert!(!hasher.verify("Correct horse", Some(hash.clone())).await.unwrap());
        assert_ne!(hash, hasher.hash("correct horse").await.unwrap(), "salted");
    }

    #[tokio::test]
    async fn nobody_costs_as_much_as_somebody_and_has_no_password() {
        let hasher = hasher();
        let before = hasher.finished();
        assert!(!hasher.verify("", None).await.unwrap());
        assert_eq!(hasher.finished(), before + 1, "argon2 ran");
        let params = |phc: &str| phc.split('$').take(4).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(params(&hasher.nobody), params(&hasher.hash("x").await.unwrap()));
    }

    #[tokio::test]
    async fn a_damaged_hash_is_an_error_and_not_a_wrong_password() {
        let damaged = hasher().verify("x", Some("not a hash".to_owned())).await;
        assert!(matches!(damaged, Err(HashError::Damaged(_))));
    }

    #[tokio::test]
    async fn the_queue_is_bounded_and_empties() {
        let hasher = hasher();
        // Both turns are taken: nobody hashes until they are given back.
        let turns = Arc::clone(&hasher.turns).acquire_many_owned(2).await.unwrap();
        let mut many = Box::pin(join_all((0..MAX_WAITING + 3).map(|_| hasher.verify("x", None))));
        assert!(futures_util::poll!(&mut many).is_pending());
        assert_eq!(hasher.waiting.load(Ordering::Relaxed), MAX_WAITING);
        assert!(matches!(hasher.verify("x", None).await, Err(HashError::Busy)));
        drop(turns);
        let busy = many.await.iter().filter(|result| matches!(result, Err(HashError::Busy))).count();
        assert_eq!(busy, 3);
        assert_eq!(hasher.finished(), MAX_WAITING as u64);
        assert_eq!(hasher.waiting.load(Ordering::Relaxed), 0);
    }
}
