//! How a secret is read from and written to a file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::signature::SigningKey;
use zeroize::Zeroizing;

use super::{SecretsError, ServiceKey};

/// The largest file that is read as a secret, in bytes: a PKCS#8 key in PEM takes 180.
const MAX_FILE_BYTES: u64 = 16 * 1024;

/// A file below the directory that `scoreboard key init` made.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    /// The directory given by `SCOREBOARD__SECRETS__DIR`.
    pub(super) root: &'a Path,
    /// The file.
    pub(super) path: &'a Path,
}

impl Place<'_> {
    pub(super) fn malformed(&self, expected: &'static str) -> SecretsError {
        SecretsError::Malformed { path: self.path.to_owned(), expected, root: self.root.to_owned() }
    }

    fn placeholder(&self) -> SecretsError {
        SecretsError::Placeholder { path: self.path.to_owned(), root: self.root.to_owned() }
    }

    /// The file's text without surrounding white space; `None` when there is no such file.
    pub(super) fn read_if_present(&self) -> Result<Option<Zeroizing<String>>, SecretsError> {
        let unreadable = |source| SecretsError::Io { operation: "read", path: self.path.to_owned(), source };
        let file = match File::open(self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(error)),
        };
        warn_if_open_to_everybody(self.path, &file);
        // Capacity up front: growing would leave copies behind that nobody wipes.
        let mut text = Zeroizing::new(String::with_capacity(MAX_FILE_BYTES as usize + 1));
        match file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text) {
            Ok(length) if length as u64 <= MAX_FILE_BYTES => {}
            Ok(_) => return Err(self.malformed("is too large for a secret")),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(self.malformed("must hold text"));
            }
            Err(error) => return Err(unreadable(error)),
        }
        Ok(Some(Zeroizing::new(text.trim().to_owned())))
    }

    /// The file's text without surrounding white space.
    pub(super) fn read(&self) -> Result<Zeroizing<String>, SecretsError> {
        self.read_if_present()?
            .ok_or_else(|| SecretsError::Missing { path: self.path.to_owned(), root: self.root.to_owned() })
    }

    /// 32 bytes in base64url.
    pub(super) fn read_key(&self) -> Result<SigningKey, SecretsError> {
        let text = self.read()?;
        let expected = "must hold 32 bytes in base64url without padding (43 characters)";
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text.as_bytes()).map_err(|_| self.malformed(expected))?);
        let key: [u8; 32] = bytes.as_slice().try_into().map_err(|_| self.malformed(expected))?;
        if is_placeholder(&text) || key.iter().all(|byte| *byte == key[0]) {
            return Err(self.placeholder());
        }
        Ok(SigningKey::from_bytes(key))
    }

    /// What a service shows to another.
    pub(super) fn read_service_key(&self) -> Result<ServiceKey, SecretsError> {
        let text = self.read()?;
        let key = ServiceKey::parse(&text)
            .ok_or_else(|| self.malformed("must hold 32 to 255 visible ASCII characters without spaces"))?;
        if is_placeholder(&text) { Err(self.placeholder()) } else { Ok(key) }
    }
}

/// Values that documentation, examples and tired people use. A random key contains none of these words by chance
/// (below 1 in 10^8).
fn is_placeholder(text: &str) -> bool {
    let lower = Zeroizing::new(text.to_ascii_lowercase());
    let repeated = lower.bytes().all(|byte| Some(byte) == lower.bytes().next());
    repeated || ["changeme", "change-me", "change_me", "placeholder", "example"].iter().any(|word| lower.contains(word))
}

/// Kubernetes mounts secrets with 0644 unless told otherwise, and there the pod is the boundary: so what everybody
/// can read is told, not refused. A group may read: that is how a mount is given to a user other than root.
fn warn_if_open_to_everybody(path: &Path, file: &File) {
    if let Ok(metadata) = file.metadata()
        && metadata.mode() & 0o007 != 0
    {
        let mode = format!("{:o}", metadata.mode() & 0o777);
        tracing::warn!(path = %path.display(), mode, "everybody on this machine can read this secret; chmod 600 it");
    }
}

/// Makes a directory that only its owner can enter; keeps one that is there.
pub(super) fn make_directory(path: &Path) -> Result<(), SecretsError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|source| SecretsError::Io {
        operation: "create the directory",
        path: path.to_owned(),
        source,
    })
}

/// Writes a file that only its owner can read, whole or not at all, and never over one that is there.
/// `false`: somebody else made it meanwhile.
pub(super) fn create_file(path: &Path, content: &str) -> Result<bool, SecretsError> {
    let failed = |source| SecretsError::Io { operation: "create", path: path.to_owned(), source };
    let temporary = temporary_name(path)?;
    let written = write_new(&temporary, content).and_then(|()| match fs::hard_link(&temporary, path) {
        // A link, unlike a rename, fails where the name is taken.
        Ok(()) => sync_directory_of(path).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    });
    let removed = fs::remove_file(&temporary);
    let created = written.map_err(failed)?;
    removed.map_err(failed)?;
    Ok(created)
}

/// Writes a file that only its owner can read, whole or not at all, over one that may be there.
pub(super) fn replace_file(path: &Path, content: &str) -> Result<(), SecretsError> {
    let failed = |source| SecretsError::Io { operation: "replace", path: path.to_owned(), source };
    let temporary = temporary_name(path)?;
    let written = write_new(&temporary, content).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // Best effort: the error of the write is what is told.
        let _ = fs::remove_file(&temporary);
    }
    written.and_then(|()| sync_directory_of(path)).map_err(failed)
}

/// Removes a file. `false`: there was none.
pub(super) fn remove_file(path: &Path) -> Result<bool, SecretsError> {
    let removed = match fs::remove_file(path) {
        Ok(()) => sync_directory_of(path).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    };
    removed.map_err(|source| SecretsError::Io { operation: "remove", path: path.to_owned(), source })
}

fn temporary_name(path: &Path) -> Result<PathBuf, SecretsError> {
    let mut suffix = [0; 8];
    fill_random(&mut suffix)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Ok(path.with_file_name(format!(".{name}.{}", hex::encode(suffix))))
}

fn write_new(path: &Path, content: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()
}

fn sync_directory_of(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

/// Bytes from the system's generator.
pub(super) fn fill_random(bytes: &mut [u8]) -> Result<(), SecretsError> {
    use rand::TryRng as _;
    rand::rngs::SysRng.try_fill_bytes(bytes).map_err(|error| SecretsError::Randomness(Box::new(error)))
}

/// 32 random bytes in base64url: the form of every secret that is not a key pair.
pub(super) fn random_text() -> Result<Zeroizing<String>, SecretsError> {
    let mut bytes = Zeroizing::new([0_u8; 32]);
    fill_random(bytes.as_mut())?;
    Ok(Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes.as_ref())))
}
