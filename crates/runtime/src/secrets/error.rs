//! What can be wrong with a directory of secrets, in words that lead to the next step. Never a secret itself.

use std::io;
use std::path::PathBuf;

/// A secret cannot be used. Every message names the file.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// A file that the service needs is not there.
    #[error("{} is missing; run `scoreboard key init {}`, which keeps what is there and makes what is not", path.display(), root.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// What `scoreboard key init` takes.
        root: PathBuf,
    },
    /// The file or directory cannot be read or written.
    #[error("cannot {operation} {}; check that it belongs to the user that runs the service", path.display())]
    Io {
        /// What was tried, as a verb.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's words.
        #[source]
        source: io::Error,
    },
    /// The file holds something else.
    #[error("{} {expected}; restore it from a backup, or move it away and run `scoreboard key init {}`", path.display(), root.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What was expected, as the end of a sentence: `must hold …`.
        expected: &'static str,
        /// What `scoreboard key init` takes.
        root: PathBuf,
    },
    /// The file holds a value that everybody can guess.
    #[error("{} holds a placeholder, not a secret; move it away and run `scoreboard key init {}`", path.display(), root.display())]
    Placeholder {
        /// The file.
        path: PathBuf,
        /// What `scoreboard key init` takes.
        root: PathBuf,
    },
    /// Two services that must share a secret hold different ones.
    #[error("{} and {} must hold the same secret and differ; move the wrong one away and run `scoreboard key init` again", one.display(), other.display())]
    Mismatch {
        /// The one.
        one: PathBuf,
        /// The other.
        other: PathBuf,
    },
    /// The key that signs cannot be taken away.
    #[error("{kid} is the key that signs; run `scoreboard key rotate {}` first, then retire it", root.display())]
    Active {
        /// The key.
        kid: String,
        /// The directory.
        root: PathBuf,
    },
    /// There is no such key.
    #[error("{} holds no key {kid}", root.display())]
    UnknownKey {
        /// What was asked for.
        kid: String,
        /// The directory.
        root: PathBuf,
    },
    /// Players hold keys of the version that would be lost.
    #[error(
        "{} is {age_s} s old: players may still sign with keys of the master before the last one. Wait until it is {needed_s} s old; \
         if the master was stolen, remove this file first, and these players log in again", path.display()
    )]
    RotatedTooLately {
        /// The previous master's file.
        path: PathBuf,
        /// Seconds since the last rotation.
        age_s: u64,
        /// Seconds that a rotation needs.
        needed_s: u64,
    },
    /// The system has no randomness to give.
    #[error("the system gives no random bytes")]
    Randomness(#[source] Box<dyn std::error::Error + Send + Sync>),
}
