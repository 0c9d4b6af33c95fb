//! Where identifiers and salts come from.

use rand::TryRng as _;
use rand::rngs::SysRng;
use uuid::Uuid;

/// Unpredictable bytes: the system's in services, counted ones in tests.
pub trait Entropy: Send + Sync {
    /// Fills `bytes`.
    ///
    /// # Errors
    /// The system has none to give.
    fn fill(&self, bytes: &mut [u8]) -> Result<(), NoEntropy>;
}

/// The system gives no random bytes; nothing that needs them can go on.
#[derive(Debug, thiserror::Error)]
#[error("the system gives no random bytes")]
pub struct NoEntropy(#[source] Box<dyn std::error::Error + Send + Sync>);

/// The system's generator.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), NoEntropy> {
        SysRng.try_fill_bytes(bytes).map_err(|error| NoEntropy(Box::new(error)))
    }
}

/// A random (version 4) UUID.
pub(crate) fn random_uuid(entropy: &dyn Entropy) -> Result<Uuid, NoEntropy> {
    let mut bytes = [0; 16];
    entropy.fill(&mut bytes)?;
    Ok(uuid::Builder::from_random_bytes(bytes).into_uuid())
}
