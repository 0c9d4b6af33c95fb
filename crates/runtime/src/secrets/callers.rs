//! `scoreboard key caller create DIR NAME`: a service key for a program that is none of ours.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::files::{Place, make_directory};
use super::{
    AUTH, CALLER_PREFIX, FANOUT, GATEWAY, InitReport, SERVICE_KEY, SecretsError, ServiceKey, WORKER, caller_file,
    files_in, read_service_key,
};

/// The form of names that a caller may have: 1 to 32 of `a-z`, `0-9` and `-`, and no name of a service of ours.
#[must_use]
pub fn is_valid_caller(name: &str) -> bool {
    let form = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=32).contains(&name.len())
        && name.bytes().all(form)
        && !name.starts_with('-')
        && ![AUTH, GATEWAY, FANOUT, WORKER].contains(&name)
}

/// What a caller may do. Each is a file of its own, so that taking a permission away is taking a file away.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Permission {
    /// Have actions signed by auth (`AuthService.SignAction`).
    Sign,
    /// Move and read scores at the gateway (`ScoreService`).
    Score,
    /// Administer at the gateway (`AdminService`).
    Admin,
}

impl Permission {
    /// Every permission.
    pub const ALL: [Self; 3] = [Self::Sign, Self::Score, Self::Admin];

    /// Its name on the command line and in file names.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sign => "sign",
            Self::Score => "score",
            Self::Admin => "admin",
        }
    }

    /// The inverse of [`Self::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|permission| permission.as_str() == text)
    }
}

/// The SHA-256 of a service key: lets its holder be recognised, and opens nothing. Keys are 32 random bytes, so there is
/// nothing to guess.
#[derive(Clone, PartialEq, Eq)]
pub struct ServiceKeyHash([u8; 32]);

impl ServiceKeyHash {
    /// The hash of a key.
    #[must_use]
    pub fn of(key: &ServiceKey) -> Self {
        Self::of_text(key.as_str())
    }

    fn of_text(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }

    /// Whether this is the hash of what was presented; compared in constant time.
    #[must_use]
    pub fn matches(&self, presented: &str) -> bool {
        self.0.ct_eq(&Self::of_text(presented).0).into()
    }
}

impl fmt::Debug for ServiceKeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServiceKeyHash(…)")
    }
}

/// A caller as a gateway knows it.
#[derive(Clone, Debug)]
pub struct GatewayCaller {
    /// Its name.
    pub name: String,
    /// Recognises its key.
    pub key: ServiceKeyHash,
    /// What it may do here.
    pub may: BTreeSet<Permission>,
}

/// Makes a service key for `name`: `root/<name>/service-key`, for the caller, and for each permission the file by which
/// the service that grants it knows the caller: `root/auth/caller-<name>` (the key itself, from which auth derives what
/// it signs with) and `root/gateway/caller-<name>.<permission>` (a hash). Keeps what is there, and takes nothing away.
/// Auth lets the caller in when it is started again, a gateway after HUP.
///
/// # Errors
/// [`SecretsError`]; `Malformed` for a name that no caller may have.
pub fn create_caller(root: &Path, name: &str, may: &[Permission]) -> Result<InitReport, SecretsError> {
    let (auth, gateway, own) = (root.join(AUTH), root.join(GATEWAY), root.join(name));
    let known = auth.join(caller_file(name));
    if !is_valid_caller(name) {
        return Err(Place { root, path: &known }.malformed("cannot be a caller's file: 1 to 32 of a-z, 0-9 and -"));
    }
    // Only beside secrets that are there: a mistyped directory would be found out much later.
    let place = auth.join(caller_file(GATEWAY));
    Place { root, path: &place }.read()?;
    make_directory(&own)?;
    let own = own.join(SERVICE_KEY);
    let mut report = InitReport::default();
    // A key that auth knows already is the caller's, whatever is asked for now.
    let signs = may.contains(&Permission::Sign) || known.exists();
    let shared = if signs { vec![known, own.clone()] } else { vec![own.clone()] };
    report.share(root, &shared)?;
    let hash = ServiceKeyHash::of(&read_service_key(root, &own)?);
    for permission in may.iter().filter(|permission| **permission != Permission::Sign) {
        let path = gateway.join(format!("{}.{}", caller_file(name), permission.as_str()));
        match read_hash(root, &path) {
            Ok(known) if known == hash => {}
            Ok(_) => return Err(SecretsError::Mismatch { one: own, other: path }),
            Err(SecretsError::Missing { .. }) => {}
            Err(error) => return Err(error),
        }
        report.file(&path, &hex::encode(hash.0))?;
    }
    Ok(report)
}

/// The callers that a gateway's directory knows; one whose files name different keys is refused.
pub(super) fn read_gateway_callers(root: &Path, dir: &Path) -> Result<Vec<GatewayCaller>, SecretsError> {
    let mut callers: BTreeMap<String, (PathBuf, GatewayCaller)> = BTreeMap::new();
    for path in files_in(dir)? {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some((name, permission)) = file.strip_prefix(CALLER_PREFIX).and_then(|rest| rest.split_once('.')) else {
            continue;
        };
        let place = Place { root, path: &path };
        let permission = Permission::parse(permission).filter(|permission| *permission != Permission::Sign);
        let (Some(permission), true) = (permission, is_valid_caller(name)) else {
            return Err(place.malformed("must be named caller-<name>.score or caller-<name>.admin"));
        };
        let key = read_hash(root, &path)?;
        let caller = GatewayCaller { name: name.to_owned(), key: key.clone(), may: BTreeSet::new() };
        let (first, known) = callers.entry(name.to_owned()).or_insert_with(|| (path.clone(), caller));
        if known.key != key {
            return Err(SecretsError::Mismatch { one: first.clone(), other: path });
        }
        known.may.insert(permission);
    }
    Ok(callers.into_values().map(|(_, caller)| caller).collect())
}

fn read_hash(root: &Path, path: &Path) -> Result<ServiceKeyHash, SecretsError> {
    let place = Place { root, path };
    let bytes = hex::decode(place.read()?.as_bytes()).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    bytes.map(ServiceKeyHash).ok_or_else(|| place.malformed("must hold the SHA-256 of a service key in hex"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secrets::{AuthSecrets, GatewaySecrets, init};

    const SIGN: &[Permission] = &[Permission::Sign];

    #[test]
    fn a_caller_gets_a_key_of_its_own_and_keeps_it() {
        let dir = tempfile::tempdir().unwrap();
        init(dir.path()).unwrap();
        assert_eq!(create_caller(dir.path(), "arena", SIGN).unwrap().created.len(), 2);
        assert_eq!(create_caller(dir.path(), "arena", SIGN).unwrap(), InitReport { created: Vec::new(), kept: 2 });
        create_caller(dir.path(), "arena-2", SIGN).unwrap();

        let callers = AuthSecrets::load(dir.path()).unwrap().callers;
        let given = std::fs::read_to_string(dir.path().join("arena").join(SERVICE_KEY)).unwrap();
        assert!(callers["arena"].matches(&given));
        assert!(!callers["arena-2"].matches(&given));
        assert_eq!(std::fs::read_dir(dir.path().join("arena")).unwrap().count(), 1, "nothing else is in its directory");
    }

    #[test]
    fn names_of_ours_and_paths_are_no_callers() {
        let dir = tempfile::tempdir().unwrap();
        init(dir.path()).unwrap();
        for name in ["", "auth", "gateway", "realtime-fanout", "score-worker", "../x", "a/b", "A", "-x", "a.b"] {
            assert!(!is_valid_caller(name), "{name}");
            assert!(matches!(create_caller(dir.path(), name, SIGN), Err(SecretsError::Malformed { .. })), "{name}");
        }
    }

    #[test]
    fn without_secrets_there_is_nothing_to_call() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(create_caller(dir.path(), "arena", SIGN), Err(SecretsError::Missing { .. })));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn each_permission_is_known_to_the_service_that_grants_it_and_to_no_other() {
        let dir = tempfile::tempdir().unwrap();
        init(dir.path()).unwrap();
        create_caller(dir.path(), "referee", &[Permission::Score]).unwrap();
        create_caller(dir.path(), "arena", SIGN).unwrap();
        let callers = GatewaySecrets::load(dir.path()).unwrap().callers;
        assert_eq!(callers.len(), 1);
        assert_eq!(callers[0].may, BTreeSet::from([Permission::Score]));
        let auth = AuthSecrets::load(dir.path()).unwrap().callers;
        assert!(!auth.contains_key("referee") && auth.contains_key("arena"));

        let key = std::fs::read_to_string(dir.path().join("referee").join(SERVICE_KEY)).unwrap();
        assert!(callers[0].key.matches(&key) && !callers[0].key.matches("x") && !callers[0].key.matches(""));
        for file in std::fs::read_dir(dir.path().join(GATEWAY)).unwrap() {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            assert!(!text.contains(key.trim()), "a stolen gateway cannot pass for its callers");
        }

        // More is given later, to the same key.
        create_caller(dir.path(), "referee", &Permission::ALL).unwrap();
        let callers = GatewaySecrets::load(dir.path()).unwrap().callers;
        assert_eq!(callers[0].may, BTreeSet::from([Permission::Score, Permission::Admin]));
        assert!(AuthSecrets::load(dir.path()).unwrap().callers["referee"].matches(&key));
    }

    #[test]
    fn a_damaged_permission_is_told() {
        let dir = tempfile::tempdir().unwrap();
        init(dir.path()).unwrap();
        create_caller(dir.path(), "referee", &[Permission::Score]).unwrap();
        let gateway = dir.path().join(GATEWAY);
        for (file, text) in [("caller-referee.admin", "x"), ("caller-referee.root", "00"), ("caller-A.score", "00")] {
            std::fs::write(gateway.join(file), text).unwrap();
            assert!(matches!(GatewaySecrets::load(dir.path()), Err(SecretsError::Malformed { .. })), "{file}");
            std::fs::remove_file(gateway.join(file)).unwrap();
        }
        std::fs::write(gateway.join("caller-referee.admin"), "00".repeat(32)).unwrap();
        assert!(matches!(GatewaySecrets::load(dir.path()), Err(SecretsError::Mismatch { .. })));
    }
}
