//! `scoreboard key caller create DIR NAME`: a service key for a program that is none of ours.

use std::path::Path;

use super::files::{Place, make_directory};
use super::{AUTH, FANOUT, GATEWAY, InitReport, SERVICE_KEY, SecretsError, WORKER, caller_file};

/// The form of names that a caller may have: 1 to 32 of `a-z`, `0-9` and `-`, and no name of a service of ours.
#[must_use]
pub fn is_valid_caller(name: &str) -> bool {
    let form = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=32).contains(&name.len())
        && name.bytes().all(form)
        && !name.starts_with('-')
        && ![AUTH, GATEWAY, FANOUT, WORKER].contains(&name)
}

/// Makes a service key for `name`: `root/auth/caller-<name>`, by which auth knows it, and `root/<name>/service-key`, for
/// the caller. Keeps a key that is there. Auth lets the caller in when it is started again.
///
/// # Errors
/// [`SecretsError`]; `Malformed` for a name that no caller may have.
pub fn create_caller(root: &Path, name: &str) -> Result<InitReport, SecretsError> {
    let (auth, own) = (root.join(AUTH), root.join(name));
    let known = auth.join(caller_file(name));
    if !is_valid_caller(name) {
        return Err(Place { root, path: &known }.malformed("cannot be a caller's file: 1 to 32 of a-z, 0-9 and -"));
    }
    // Only beside secrets that are there: a mistyped directory would be found out much later.
    let place = auth.join(caller_file(GATEWAY));
    Place { root, path: &place }.read()?;
    make_directory(&own)?;
    let mut report = InitReport::default();
    report.share(root, &[known, own.join(SERVICE_KEY)])?;
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secrets::{AuthSecrets, init};

    #[test]
    fn a_caller_gets_a_key_of_its_own_and_keeps_it() {
        let dir = tempfile::tempdir().unwrap();
        init(dir.path()).unwrap();
        assert_eq!(create_caller(dir.path(), "arena").unwrap().created.len(), 2);
        assert_eq!(create_caller(dir.path(), "arena").unwrap(), InitReport { created: Vec::new(), kept: 2 });
        create_caller(dir.path(), "arena-2").unwrap();

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
            assert!(matches!(create_caller(dir.path(), name), Err(SecretsError::Malformed { .. })), "{name}");
        }
    }

    #[test]
    fn without_secrets_there_is_nothing_to_call() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(create_caller(dir.path(), "arena"), Err(SecretsError::Missing { .. })));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
