//! The directory of our own secrets (`SCOREBOARD__SECRETS__DIR`), made by `scoreboard key init DIR`.
//!
//! One subdirectory per service holds only what that service needs, so that a stolen one opens nothing else:
//!
//! ```text
//! DIR/auth/jwt-<kid>.pem            Ed25519 private keys of access tokens, PKCS#8; jwt-<kid>.pub.pem: retired, verifies only
//! DIR/auth/jwt-active               the kid of the key that signs
//! DIR/auth/signing-master           sessions' signing keys are derived from it; 32 bytes, base64url
//! DIR/auth/signing-master.previous  the one before the last rotation, in gateway/ too
//! DIR/auth/refresh-master           refresh tokens are made with it
//! DIR/auth/caller-<service>         what that service shows to auth
//! DIR/gateway/signing-master        verifies signatures of actions
//! DIR/gateway/service-key           shown to auth
//! DIR/gateway/jwt-<kid>.pub.pem     verify access tokens before auth was asked
//! DIR/realtime-fanout/service-key, jwt-<kid>.pub.pem
//! DIR/score-worker/                 nothing secret
//! DIR/gateway/caller-<name>.score   the SHA-256 of a caller's service key: it may move and read scores; .admin: administer
//! DIR/<caller>/service-key          a game server's, shown to auth and gateways (`scoreboard key caller create`)
//! ```
//!
//! Flat, because a Kubernetes secret is: `kubectl create secret generic … --from-file=DIR/auth` takes it as it is.
//!
//! Secrets are wiped from memory when dropped and never printed.

mod callers;
mod error;
mod files;
mod init;
mod rotate;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use common::ids::SessionId;
use common::ports::VerificationKey;
use common::signature::SigningKey;
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, DecodePublicKey as _, EncodePrivateKey as _};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use callers::read_gateway_callers;
pub use callers::{GatewayCaller, Permission, ServiceKeyHash, create_caller, is_valid_caller};
pub use error::SecretsError;
use files::Place;
pub use init::{InitReport, init};
pub use rotate::{RotatedKey, retire_token_key, rotate_signing_master, rotate_token_key};

const AUTH: &str = "auth";
const GATEWAY: &str = "gateway";
const FANOUT: &str = "realtime-fanout";
const WORKER: &str = "score-worker";

const KEY_PREFIX: &str = "jwt-";
const ACTIVE_KEY: &str = "jwt-active";
const CALLER_PREFIX: &str = "caller-";
const SIGNING_MASTER: &str = "signing-master";
const PREVIOUS_SIGNING_MASTER: &str = "signing-master.previous";
const REFRESH_MASTER: &str = "refresh-master";
const SERVICE_KEY: &str = "service-key";
const PUBLIC_SUFFIX: &str = ".pub.pem";
const PRIVATE_SUFFIX: &str = ".pem";

/// Shown by one service to another as `authorization: Bearer <key>`.
#[derive(Clone)]
pub struct ServiceKey(Zeroizing<String>);

impl ServiceKey {
    /// Takes 32 to 255 visible ASCII characters as a key; `None` when the text is anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let valid = (32..=255).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        valid.then(|| Self(Zeroizing::new(text.to_owned())))
    }

    /// The key itself, to be shown to its service.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the key; compared in constant time.
    #[must_use]
    pub fn matches(&self, presented: &str) -> bool {
        self.0.as_bytes().ct_eq(presented.as_bytes()).into()
    }
}

impl fmt::Debug for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServiceKey(…)")
    }
}

/// A private key that signs access tokens.
#[derive(Clone)]
pub struct TokenSigningKey {
    kid: String,
    key: ed25519_dalek::SigningKey,
}

impl TokenSigningKey {
    /// Takes 32 random bytes as the private key. The `kid` follows from the public key.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let key = ed25519_dalek::SigningKey::from_bytes(seed);
        let kid = hex::encode(&Sha256::digest(key.verifying_key().as_bytes())[..8]);
        Self { kid, key }
    }

    /// Names the key in a token's header.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// What verifies its tokens.
    #[must_use]
    pub fn verification_key(&self) -> VerificationKey {
        VerificationKey { kid: self.kid.clone(), public_key: self.key.verifying_key().to_bytes() }
    }

    /// The private key as PKCS#8 DER, the form that JWT libraries take.
    ///
    /// # Errors
    /// Only where the encoder itself is at fault.
    pub fn pkcs8_der(&self) -> Result<Zeroizing<Vec<u8>>, ed25519_dalek::pkcs8::Error> {
        self.key.to_pkcs8_der().map(|document| document.to_bytes())
    }
}

impl fmt::Debug for TokenSigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenSigningKey").field("kid", &self.kid).finish_non_exhaustive()
    }
}

/// What sessions' signing keys are derived from, now and before the last rotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningMasters {
    /// Logins and refreshes give keys of this one.
    pub current: SigningKey,
    /// Sessions that were given a key before the rotation still sign with this one.
    pub previous: Option<SigningKey>,
}

impl SigningMasters {
    /// Without a rotation behind it.
    #[must_use]
    pub const fn only(current: SigningKey) -> Self {
        Self { current, previous: None }
    }

    /// The keys that a session may sign with, the current one first; derived as they are asked for.
    pub fn session_keys(&self, session: SessionId) -> impl Iterator<Item = SigningKey> + '_ {
        std::iter::once(&self.current).chain(&self.previous).map(move |master| SigningKey::for_session(master, session))
    }

    /// Whether signatures by keys of `master` verify.
    #[must_use]
    pub fn verify_keys_of(&self, master: &SigningKey) -> bool {
        self.current == *master || self.previous.as_ref() == Some(master)
    }

    fn read(root: &Path, dir: &Path) -> Result<Self, SecretsError> {
        // This one first: of a rotation that happens meanwhile nothing new is read, and nothing old is missed.
        let current = read_key(root, &dir.join(SIGNING_MASTER))?;
        let previous = dir.join(PREVIOUS_SIGNING_MASTER);
        let place = Place { root, path: &previous };
        let previous = place.read_if_present()?.map(|_| place.read_key()).transpose()?;
        Ok(Self { current, previous })
    }
}

/// What auth holds: the only service that can make tokens.
#[derive(Clone, Debug)]
pub struct AuthSecrets {
    /// The key that signs access tokens now.
    pub active_key: TokenSigningKey,
    /// Every key that verifies them, the active one among them, by kid.
    pub verification_keys: Vec<VerificationKey>,
    /// Sessions' signing keys are derived from them.
    pub signing_masters: SigningMasters,
    /// Refresh tokens are made with it.
    pub refresh_master: SigningKey,
    /// Who may call auth, and what each shows.
    pub callers: BTreeMap<String, ServiceKey>,
}

impl AuthSecrets {
    /// Reads `<root>/auth`.
    ///
    /// # Errors
    /// [`SecretsError`] naming the file and the next step.
    pub fn load(root: &Path) -> Result<Self, SecretsError> {
        let dir = root.join(AUTH);
        let signing_masters = SigningMasters::read(root, &dir)?;
        let refresh_master = read_key(root, &dir.join(REFRESH_MASTER))?;
        let ring = KeyRing::read(root, &dir)?;
        let active_path = dir.join(ACTIVE_KEY);
        let active = Place { root, path: &active_path };
        let kid = active.read()?;
        let active_key = ring
            .private
            .get(kid.as_str())
            .cloned()
            .ok_or_else(|| active.malformed("must name a private key beside it"))?;
        Ok(Self {
            active_key,
            verification_keys: ring.verification_keys(),
            signing_masters,
            refresh_master,
            callers: read_callers(root, &dir)?,
        })
    }
}

/// What a gateway holds: it verifies tokens and signatures, and is let in by auth.
#[derive(Clone, Debug)]
pub struct GatewaySecrets {
    /// Sessions' signing keys are derived from them.
    pub signing_masters: SigningMasters,
    /// Shown to auth.
    pub service_key: ServiceKey,
    /// Verify access tokens; auth's own list replaces them once it was asked.
    pub verification_keys: Vec<VerificationKey>,
    /// Who may call it by gRPC, by name.
    pub callers: Vec<GatewayCaller>,
}

impl GatewaySecrets {
    /// Reads `<root>/gateway`.
    ///
    /// # Errors
    /// [`SecretsError`] naming the file and the next step.
    pub fn load(root: &Path) -> Result<Self, SecretsError> {
        let dir = root.join(GATEWAY);
        Ok(Self {
            signing_masters: SigningMasters::read(root, &dir)?,
            service_key: read_service_key(root, &dir.join(SERVICE_KEY))?,
            verification_keys: KeyRing::read(root, &dir)?.verification_keys(),
            callers: read_gateway_callers(root, &dir)?,
        })
    }
}

/// What a fan-out node holds: it verifies tokens, can make neither token nor signature.
#[derive(Clone, Debug)]
pub struct FanoutSecrets {
    /// Shown to auth, which lets it read keys and revocations and nothing else.
    pub service_key: ServiceKey,
    /// Verify access tokens; auth's own list replaces them once it was asked.
    pub verification_keys: Vec<VerificationKey>,
}

impl FanoutSecrets {
    /// Reads `<root>/realtime-fanout`.
    ///
    /// # Errors
    /// [`SecretsError`] naming the file and the next step.
    pub fn load(root: &Path) -> Result<Self, SecretsError> {
        let dir = root.join(FANOUT);
        Ok(Self {
            service_key: read_service_key(root, &dir.join(SERVICE_KEY))?,
            verification_keys: KeyRing::read(root, &dir)?.verification_keys(),
        })
    }
}

/// The keys of a service's directory; never empty when read by a service.
#[derive(Default)]
struct KeyRing {
    private: BTreeMap<String, TokenSigningKey>,
    /// Those of `private` too.
    public: BTreeMap<String, [u8; 32]>,
}

impl KeyRing {
    fn read(root: &Path, dir: &Path) -> Result<Self, SecretsError> {
        let ring = Self::read_if_present(root, dir)?;
        if ring.public.is_empty() {
            return Err(SecretsError::Missing { path: dir.join("jwt-*.pem"), root: root.to_owned() });
        }
        Ok(ring)
    }

    fn read_if_present(root: &Path, dir: &Path) -> Result<Self, SecretsError> {
        let mut ring = Self::default();
        for path in files_in(dir)? {
            let place = Place { root, path: &path };
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let Some(name) = name.strip_prefix(KEY_PREFIX) else { continue };
            if let Some(kid) = name.strip_suffix(PUBLIC_SUFFIX) {
                let key = ed25519_dalek::VerifyingKey::from_public_key_pem(&place.read()?)
                    .map_err(|_| place.malformed("must hold an Ed25519 public key in PEM"))?;
                ring.add_public(&place, kid, key.to_bytes())?;
            } else if let Some(kid) = name.strip_suffix(PRIVATE_SUFFIX) {
                let key = ed25519_dalek::SigningKey::from_pkcs8_pem(&place.read()?)
                    .map_err(|_| place.malformed("must hold an Ed25519 private key as PKCS#8 in PEM"))?;
                ring.add_public(&place, kid, key.verifying_key().to_bytes())?;
                ring.private.insert(kid.to_owned(), TokenSigningKey { kid: kid.to_owned(), key });
            }
        }
        Ok(ring)
    }

    fn add_public(&mut self, place: &Place<'_>, kid: &str, key: [u8; 32]) -> Result<(), SecretsError> {
        if !is_valid_kid(kid) {
            return Err(place.malformed("must be named jwt-<kid>.pem with a kid of 1 to 64 of A-Za-z0-9_-"));
        }
        match self.public.insert(kid.to_owned(), key) {
            Some(other) if other != key => Err(place.malformed("belongs to another key than its namesake")),
            _ => Ok(()),
        }
    }

    fn verification_keys(&self) -> Vec<VerificationKey> {
        self.public.iter().map(|(kid, key)| VerificationKey { kid: kid.clone(), public_key: *key }).collect()
    }
}

/// The form of key ids that we make, take from files and let a token name.
#[must_use]
pub fn is_valid_kid(kid: &str) -> bool {
    (1..=64).contains(&kid.len()) && kid.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

fn read_key(root: &Path, path: &Path) -> Result<SigningKey, SecretsError> {
    Place { root, path }.read_key()
}

fn read_service_key(root: &Path, path: &Path) -> Result<ServiceKey, SecretsError> {
    Place { root, path }.read_service_key()
}

fn read_callers(root: &Path, dir: &Path) -> Result<BTreeMap<String, ServiceKey>, SecretsError> {
    let mut callers = BTreeMap::new();
    for path in files_in(dir)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if let Some(caller) = name.strip_prefix(CALLER_PREFIX) {
            callers.insert(caller.to_owned(), read_service_key(root, &path)?);
        }
    }
    if callers.is_empty() {
        return Err(SecretsError::Missing { path: dir.join(caller_file(GATEWAY)), root: root.to_owned() });
    }
    Ok(callers)
}

/// What `service` shows to auth is kept there under this name.
fn caller_file(service: &str) -> String {
    format!("{CALLER_PREFIX}{service}")
}

/// The files of a directory by name, without hidden ones (Kubernetes keeps its versions of a mount in some);
/// none when there is no such directory.
fn files_in(dir: &Path) -> Result<Vec<PathBuf>, SecretsError> {
    let failed = |source| SecretsError::Io { operation: "read", path: dir.to_owned(), source };
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut paths = entries.map(|entry| entry.map(|e| e.path())).collect::<Result<Vec<_>, _>>().map_err(failed)?;
    paths.retain(|path| path.is_file() && !path.file_name().unwrap_or_default().to_string_lossy().starts_with('.'));
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests;
