//! The data directory: who may read it, and that one process serves from it at a time.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// The data directory cannot be served from.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory or a file in it cannot be made or opened.
    #[error("cannot use {}", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// The system's words.
        #[source]
        source: io::Error,
    },
    /// Another process serves from the directory.
    #[error("another process serves from {}; stop it, or choose another data directory", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The database cannot be opened.
    #[error("cannot open the database {}", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// The driver's words.
        #[source]
        source: rusqlite::Error,
    },
    /// The tables cannot be brought to this program's schema.
    #[error("cannot migrate the database {}", path.display())]
    Migration {
        /// The file.
        path: PathBuf,
        /// The migrator's words.
        #[source]
        source: Box<refinery::Error>,
    },
    /// A thread cannot be started.
    #[error("cannot start the database's writer thread")]
    Thread(#[source] io::Error),
}

/// A data directory that exists.
#[derive(Clone, Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
}

/// Held by the one process that serves; released when it is dropped, and by the system when the process dies.
#[derive(Debug)]
pub(crate) struct ServingLock {
    _file: File,
}

impl DataDir {
    /// Makes the directory, for its owner only; one that exists is left as it is.
    pub(crate) fn prepare(path: &Path) -> Result<Self, OpenError> {
        create_private_dir(path).map_err(|source| OpenError::Directory { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned() })
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.path.join("scoreboard.db")
    }

    pub(crate) fn migration_lock(&self) -> PathBuf {
        self.path.join("migration.lock")
    }

    /// Makes a file, for its owner only; one that exists is left as it is. SQLite gives its own files beside a
    /// database the same mode.
    pub(crate) fn create_private_file(&self, path: &Path) -> Result<File, OpenError> {
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(path).map_err(|source| OpenError::Directory { path: path.to_owned(), source })
    }

    /// Becomes the one process that serves from here.
    pub(crate) fn lock_for_serving(&self) -> Result<ServingLock, OpenError> {
        let path = self.path.join("lock");
        let file = self.create_private_file(&path)?;
        match file.try_lock() {
            Ok(()) => Ok(ServingLock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: self.path.clone() }),
            Err(TryLockError::Error(source)) => Err(OpenError::Directory { path, source }),
        }
    }
}

fn create_private_dir(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}
