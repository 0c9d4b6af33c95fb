//! `scoreboard key rotate DIR`: a new key signs, the one before goes on verifying.
//!
//! Each step leaves a directory that every service can load, and that a repeated command completes. A service takes
//! the change over when it is started or hears HUP; verifiers must hear of it before auth signs with what is new,
//! which is why auth waits a while after its own HUP.

use std::path::Path;
use std::time::Duration;

use super::files::{Place, create_file, random_text, remove_file, replace_file};
use super::init::{new_token_key, public_pem};
use super::{
    ACTIVE_KEY, AUTH, FANOUT, GATEWAY, KEY_PREFIX, KeyRing, PREVIOUS_SIGNING_MASTER, PRIVATE_SUFFIX, PUBLIC_SUFFIX,
    SIGNING_MASTER, SecretsError, SigningMasters,
};
use crate::access_token::ACCESS_TOKEN_LIFETIME_S;

/// The services that hold public keys.
const VERIFIERS: [&str; 2] = [GATEWAY, FANOUT];

/// What a rotation of the token keys did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RotatedKey {
    /// The key that signs once auth has read it and the overlap is over.
    pub active: String,
    /// The keys that still verify; the one before signs until then.
    pub verifying: Vec<String>,
}

/// Makes a new key that signs access tokens. Those before it stay as public keys: their tokens verify until
/// [`retire_token_key`].
///
/// # Errors
/// [`SecretsError`] when there is no key to rotate, or something cannot be written.
pub fn rotate_token_key(root: &Path) -> Result<RotatedKey, SecretsError> {
    let auth = root.join(AUTH);
    let before = KeyRing::read(root, &auth)?;
    let (path, pem) = new_token_key(root, &auth)?;
    create_file(&path, &pem)?;
    // As it was written: what cannot be read back must not become the key that signs.
    let ring = KeyRing::read(root, &auth)?;
    let active = ring
        .private
        .keys()
        .find(|kid| !before.public.contains_key(*kid))
        .ok_or_else(|| SecretsError::Missing { path: path.clone(), root: root.to_owned() })?;
    for (kid, key) in &ring.public {
        for service in VERIFIERS {
            write_public(root, &root.join(service), kid, key)?;
        }
        if kid != active {
            write_public(root, &auth, kid, key)?;
        }
    }
    replace_file(&auth.join(ACTIVE_KEY), active)?;
    for kid in ring.private.keys().filter(|kid| *kid != active) {
        remove_file(&auth.join(format!("{KEY_PREFIX}{kid}{PRIVATE_SUFFIX}")))?;
    }
    let verifying = ring.public.keys().filter(|kid| *kid != active).cloned().collect();
    Ok(RotatedKey { active: active.clone(), verifying })
}

/// Takes a key away everywhere: its tokens are refused.
///
/// # Errors
/// [`SecretsError::Active`], [`SecretsError::UnknownKey`], or that something cannot be removed.
pub fn retire_token_key(root: &Path, kid: &str) -> Result<(), SecretsError> {
    let auth = root.join(AUTH);
    let active = auth.join(ACTIVE_KEY);
    if (Place { root, path: &active }).read()?.as_str() == kid {
        return Err(SecretsError::Active { kid: kid.to_owned(), root: root.to_owned() });
    }
    let mut found = false;
    for service in [AUTH, GATEWAY, FANOUT] {
        let dir = root.join(service);
        // Only a key that was read is removed: a kid from a command line is no path.
        if !KeyRing::read_if_present(root, &dir)?.public.contains_key(kid) {
            continue;
        }
        for suffix in [PRIVATE_SUFFIX, PUBLIC_SUFFIX] {
            found |= remove_file(&dir.join(format!("{KEY_PREFIX}{kid}{suffix}")))?;
        }
    }
    if found { Ok(()) } else { Err(SecretsError::UnknownKey { kid: kid.to_owned(), root: root.to_owned() }) }
}

/// Makes a new master of sessions' signing keys; the current one becomes the previous one, by which signatures still
/// verify. Refused within an access token's lifetime of the last rotation: a player gets a key of the current master
/// with each refresh, and until then signs with the one before.
///
/// # Errors
/// [`SecretsError::RotatedTooLately`], or that something cannot be read or written.
pub fn rotate_signing_master(root: &Path) -> Result<(), SecretsError> {
    let [auth, gateway] = [AUTH, GATEWAY].map(|service| root.join(service));
    let (ours, theirs) = (SigningMasters::read(root, &auth)?, SigningMasters::read(root, &gateway)?);
    let [own, other] = [&auth, &gateway].map(|dir| dir.join(SIGNING_MASTER));
    // The gateway's copy comes first below: where it is ahead, a rotation was interrupted and is completed.
    let interrupted = ours.current != theirs.current && theirs.previous.as_ref() == Some(&ours.current);
    if ours.current != theirs.current && !interrupted {
        return Err(SecretsError::Mismatch { one: own, other });
    }
    let current = Place { root, path: &own }.read()?;
    let next = if interrupted {
        Place { root, path: &other }.read()?
    } else {
        let last = auth.join(PREVIOUS_SIGNING_MASTER);
        if let Some(age) = age(&last)?
            && age < Duration::from_secs(u64::from(ACCESS_TOKEN_LIFETIME_S))
        {
            let needed_s = u64::from(ACCESS_TOKEN_LIFETIME_S);
            return Err(SecretsError::RotatedTooLately { path: last, age_s: age.as_secs(), needed_s });
        }
        random_text()?
    };
    for dir in [&gateway, &auth] {
        replace_file(&dir.join(PREVIOUS_SIGNING_MASTER), &current)?;
        replace_file(&dir.join(SIGNING_MASTER), &next)?;
    }
    Ok(())
}

/// How long ago a file was written; `None` when there is none.
fn age(path: &Path) -> Result<Option<Duration>, SecretsError> {
    match path.metadata().and_then(|metadata| metadata.modified()) {
        // Written in the future: as young as can be.
        Ok(modified) => Ok(Some(modified.elapsed().unwrap_or_default())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(SecretsError::Io { operation: "read", path: path.to_owned(), source }),
    }
}

fn write_public(root: &Path, dir: &Path, kid: &str, key: &[u8; 32]) -> Result<(), SecretsError> {
    let path = dir.join(format!("{KEY_PREFIX}{kid}{PUBLIC_SUFFIX}"));
    if !path.exists() {
        create_file(&path, &public_pem(root, &path, key)?)?;
    }
    Ok(())
}
