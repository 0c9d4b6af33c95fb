//! `scoreboard key init DIR`: makes the secrets that are missing, keeps those that are there.

use std::path::{Path, PathBuf};

use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{EncodePrivateKey as _, EncodePublicKey as _};
use zeroize::Zeroizing;

use super::files::{Place, create_file, fill_random, make_directory, random_text};
use super::{
    ACTIVE_KEY, AUTH, FANOUT, GATEWAY, KEY_PREFIX, KeyRing, PRIVATE_SUFFIX, PUBLIC_SUFFIX, REFRESH_MASTER, SERVICE_KEY,
    SIGNING_MASTER, SecretsError, TokenSigningKey, WORKER, caller_file,
};

const WORKER_README: &str = "The score-worker holds no secret of ours.\n";

/// What `init` did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InitReport {
    /// The files that were made.
    pub created: Vec<PathBuf>,
    /// How many were there before and stay as they were.
    pub kept: usize,
}

/// Makes `root` a directory of secrets for all four services: 0700 directories, 0600 files. Never overwrites: a
/// second run makes only what is missing, and two at once end with the same secrets.
///
/// # Errors
/// [`SecretsError`] when something cannot be written, or when what is there does not fit together.
pub fn init(root: &Path) -> Result<InitReport, SecretsError> {
    let mut report = InitReport::default();
    let [auth, gateway, fanout, worker] = [AUTH, GATEWAY, FANOUT, WORKER].map(|service| root.join(service));
    for dir in [&auth, &gateway, &fanout, &worker] {
        make_directory(dir)?;
    }

    report.share(root, &[auth.join(SIGNING_MASTER), gateway.join(SIGNING_MASTER)])?;
    report.share(root, &[auth.join(REFRESH_MASTER)])?;
    report.share(root, &[auth.join(caller_file(GATEWAY)), gateway.join(SERVICE_KEY)])?;
    report.share(root, &[auth.join(caller_file(FANOUT)), fanout.join(SERVICE_KEY)])?;
    report.token_keys(root, &auth, &[gateway, fanout])?;
    report.file(&worker.join("README"), WORKER_README)?;
    Ok(report)
}

impl InitReport {
    pub(super) fn file(&mut self, path: &Path, content: &str) -> Result<(), SecretsError> {
        if !path.exists() && create_file(path, content)? {
            self.created.push(path.to_owned());
        } else {
            self.kept += 1;
        }
        Ok(())
    }

    /// The same secret in all of `paths`: the one that is in some of them, else a new one.
    pub(super) fn share(&mut self, root: &Path, paths: &[PathBuf]) -> Result<(), SecretsError> {
        let mut known: Option<(Zeroizing<String>, &PathBuf)> = None;
        for path in paths {
            let Some(value) = (Place { root, path }).read_if_present()? else { continue };
            match &known {
                Some((first, one)) if *first != value => {
                    return Err(SecretsError::Mismatch { one: (*one).clone(), other: path.clone() });
                }
                Some(_) => {}
                None => known = Some((value, path)),
            }
        }
        let value = match known {
            Some((value, _)) => value,
            None => {
                self.file(&paths[0], &random_text()?)?;
                // Not what was just drawn: another `init` may have been faster.
                Place { root, path: &paths[0] }.read()?
            }
        };
        for path in paths {
            if !self.created.contains(path) {
                self.file(path, &value)?;
            }
        }
        Ok(())
    }

    fn token_keys(&mut self, root: &Path, own: &Path, verifiers: &[PathBuf]) -> Result<(), SecretsError> {
        let mut ring = KeyRing::read_if_present(root, own)?;
        if ring.private.is_empty() {
            let (path, pem) = new_token_key(root, own)?;
            self.file(&path, &pem)?;
            ring = KeyRing::read(root, own)?;
        } else {
            self.kept += ring.public.len();
        }
        if let Some(kid) = ring.private.keys().next() {
            self.file(&own.join(ACTIVE_KEY), kid)?;
        }
        for dir in verifiers {
            for (kid, key) in &ring.public {
                let path = dir.join(format!("{KEY_PREFIX}{kid}{PUBLIC_SUFFIX}"));
                self.file(&path, &public_pem(root, &path, key)?)?;
            }
        }
        Ok(())
    }
}

/// A new private key with the file that it belongs in.
pub(super) fn new_token_key(root: &Path, dir: &Path) -> Result<(PathBuf, Zeroizing<String>), SecretsError> {
    let mut seed = Zeroizing::new([0; 32]);
    fill_random(seed.as_mut())?;
    let key = TokenSigningKey::from_seed(&seed);
    let path = dir.join(format!("{KEY_PREFIX}{}{PRIVATE_SUFFIX}", key.kid()));
    let pem = key
        .key
        .to_pkcs8_pem(LineEnding::LF)
        .map_err(|_| Place { root, path: &path }.malformed("cannot be written: the key has no PKCS#8 form"))?;
    Ok((path, pem))
}

pub(super) fn public_pem(root: &Path, path: &Path, key: &[u8; 32]) -> Result<String, SecretsError> {
    ed25519_dalek::VerifyingKey::from_bytes(key)
        .ok()
        .and_then(|key| key.to_public_key_pem(LineEnding::LF).ok())
        .ok_or_else(|| Place { root, path }.malformed("cannot be written: the key has no PEM form"))
}
