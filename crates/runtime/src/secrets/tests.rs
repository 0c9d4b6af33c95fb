use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn files_below(dir: &Path) -> BTreeMap<PathBuf, (u32, String)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else {
            let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            found.insert(path.clone(), (mode, fs::read_to_string(&path).unwrap()));
        }
    }
    found
}

fn initialised() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path()).unwrap();
    dir
}

#[test]
fn every_service_loads_what_init_made_and_they_fit_together() {
    let dir = initialised();
    let auth = AuthSecrets::load(dir.path()).unwrap();
    let gateway = GatewaySecrets::load(dir.path()).unwrap();
    let fanout = FanoutSecrets::load(dir.path()).unwrap();
    assert_eq!(auth.signing_masters, gateway.signing_masters);
    assert_ne!(auth.signing_masters.current, auth.refresh_master);
    assert_eq!(auth.verification_keys, vec![auth.active_key.verification_key()]);
    assert_eq!(auth.verification_keys, gateway.verification_keys);
    assert_eq!(auth.verification_keys, fanout.verification_keys);
    assert!(auth.callers["gateway"].matches(gateway.service_key.as_str()));
    assert!(auth.callers["realtime-fanout"].matches(fanout.service_key.as_str()));
    assert!(!auth.callers["gateway"].matches(fanout.service_key.as_str()));
}

#[test]
fn only_the_owner_can_read_and_no_temporary_file_is_left() {
    let dir = initialised();
    let files = files_below(dir.path());
    assert!(files.len() >= 12, "{files:?}");
    for (path, (mode, _)) in files {
        assert_eq!(mode, 0o600, "{}", path.display());
        assert!(!path.file_name().unwrap().to_string_lossy().starts_with('.'), "{}", path.display());
    }
    for service in ["auth", "gateway", "score-worker", "realtime-fanout"] {
        assert_eq!(fs::metadata(dir.path().join(service)).unwrap().permissions().mode() & 0o777, 0o700, "{service}");
    }
}

#[test]
fn a_second_run_changes_nothing_and_fills_only_what_is_missing() {
    let dir = initialised();
    let before = files_below(dir.path());
    let again = init(dir.path()).unwrap();
    assert_eq!(again.created, Vec::<PathBuf>::new());
    assert_eq!(again.kept, before.len());
    assert_eq!(files_below(dir.path()), before);

    let lost = dir.path().join("auth/signing-master");
    fs::remove_file(&lost).unwrap();
    assert_eq!(init(dir.path()).unwrap().created, vec![lost]);
    assert_eq!(files_below(dir.path()), before, "the gateway's copy restores auth's");
}

#[test]
fn two_runs_at_once_end_with_one_set_of_secrets() {
    for _ in 0..20 {
        let dir = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| init(dir.path()).unwrap());
            }
        });
        let (auth, gateway) = (AuthSecrets::load(dir.path()).unwrap(), GatewaySecrets::load(dir.path()).unwrap());
        assert_eq!(auth.signing_masters, gateway.signing_masters);
        assert!(auth.callers["gateway"].matches(gateway.service_key.as_str()));
        assert!(gateway.verification_keys.contains(&auth.active_key.verification_key()));
    }
}

#[test]
fn secrets_that_differ_where_they_must_not_are_told_and_kept() {
    let dir = initialised();
    let other = initialised();
    fs::copy(other.path().join("gateway/signing-master"), dir.path().join("gateway/signing-master")).unwrap();
    let before = files_below(dir.path());
    assert!(matches!(init(dir.path()), Err(SecretsError::Mismatch { .. })));
    assert_eq!(files_below(dir.path()), before);
}

#[test]
fn a_missing_or_damaged_file_is_named_with_the_next_step() {
    let dir = initialised();
    let master = dir.path().join("auth/refresh-master");
    for (content, words) in [
        (None, "is missing"),
        (Some("short".to_owned()), "must hold 32 bytes"),
        (Some("A".repeat(43)), "placeholder"),
        (Some("x".repeat(20_000)), "too large"),
    ] {
        match content {
            Some(content) => fs::write(&master, content).unwrap(),
            None => fs::remove_file(&master).unwrap(),
        }
        let told = AuthSecrets::load(dir.path()).unwrap_err().to_string();
        assert!(told.contains(master.to_str().unwrap()) && told.contains(words), "{told}");
        assert!(told.contains(&format!("scoreboard key init {}", dir.path().display())), "{told}");
    }
    fs::write(dir.path().join("gateway/service-key"), "please-change-me-please-change-me-please").unwrap();
    assert!(matches!(GatewaySecrets::load(dir.path()), Err(SecretsError::Placeholder { .. })));
    assert!(AuthSecrets::load(&dir.path().join("elsewhere")).unwrap_err().to_string().contains("elsewhere"));
}

#[test]
fn the_active_key_is_the_named_one_and_others_verify() {
    let dir = initialised();
    let other = TokenSigningKey::from_seed(&[7; 32]);
    let jwt = dir.path().join("auth");
    let first = AuthSecrets::load(dir.path()).unwrap().active_key;
    let pem = other.key.to_pkcs8_pem(ed25519_dalek::pkcs8::spki::der::pem::LineEnding::LF).unwrap();
    fs::write(jwt.join(format!("jwt-{}.pem", other.kid())), pem.as_bytes()).unwrap();
    fs::write(jwt.join("jwt-active"), format!("{}\n", other.kid())).unwrap();
    let secrets = AuthSecrets::load(dir.path()).unwrap();
    assert_eq!(secrets.active_key.kid(), other.kid());
    assert!(secrets.verification_keys.contains(&first.verification_key()));
    init(dir.path()).unwrap();
    assert_eq!(FanoutSecrets::load(dir.path()).unwrap().verification_keys.len(), 2, "init hands new public keys out");

    fs::write(jwt.join("jwt-active"), "unknown").unwrap();
    assert!(AuthSecrets::load(dir.path()).unwrap_err().to_string().contains("must name a private key"));
}

#[test]
fn debug_shows_no_secret() {
    let dir = initialised();
    let shown = format!(
        "{:?} {:?} {:?}",
        AuthSecrets::load(dir.path()).unwrap(),
        GatewaySecrets::load(dir.path()).unwrap(),
        FanoutSecrets::load(dir.path()).unwrap()
    );
    for (path, (_, content)) in files_below(dir.path()) {
        let public = path.to_string_lossy().ends_with(".pub.pem") || path.ends_with(ACTIVE_KEY);
        assert!(public || !shown.contains(content.trim()), "{}", path.display());
    }
}

#[test]
fn a_stolen_fanout_or_worker_directory_holds_no_private_key_and_no_master() {
    let dir = initialised();
    let secrets = |service: &str| files_below(&dir.path().join(service));
    let auth = AuthSecrets::load(dir.path()).unwrap();
    let seed = hex::encode(auth.active_key.key.to_bytes());
    for service in ["realtime-fanout", "score-worker", "gateway"] {
        for (path, (_, content)) in secrets(service) {
            assert!(!content.contains("PRIVATE") && !content.contains(&seed), "{}", path.display());
            if service != "gateway" {
                assert!(!path.ends_with(SIGNING_MASTER) && !path.ends_with(REFRESH_MASTER), "{}", path.display());
            }
        }
    }
}

fn names_in(dir: &Path, service: &str) -> Vec<String> {
    let files = files_in(&dir.join(service)).unwrap();
    files.iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
}

#[test]
fn a_rotation_makes_a_new_key_that_signs_and_leaves_the_old_one_verifying() {
    let dir = initialised();
    let before = AuthSecrets::load(dir.path()).unwrap();
    let old = before.active_key.verification_key();
    let rotated = rotate_token_key(dir.path()).unwrap();
    assert_eq!(rotated.verifying, std::slice::from_ref(&old.kid));

    let auth = AuthSecrets::load(dir.path()).unwrap();
    assert_eq!(auth.active_key.kid(), rotated.active);
    assert_ne!(auth.active_key.kid(), old.kid);
    assert!(auth.verification_keys.contains(&old) && auth.verification_keys.len() == 2);
    assert_eq!(GatewaySecrets::load(dir.path()).unwrap().verification_keys, auth.verification_keys);
    assert_eq!(FanoutSecrets::load(dir.path()).unwrap().verification_keys, auth.verification_keys);
    let auth_files = names_in(dir.path(), "auth");
    assert!(auth_files.contains(&format!("jwt-{}.pub.pem", old.kid)), "{auth_files:?}");
    assert!(!auth_files.contains(&format!("jwt-{}.pem", old.kid)), "it cannot sign any more: {auth_files:?}");
    assert_eq!(auth.signing_masters, before.signing_masters);
    assert_eq!(auth.refresh_master, before.refresh_master);
    assert_eq!(init(dir.path()).unwrap().created, Vec::<PathBuf>::new(), "nothing is missing");
    assert!(files_below(dir.path()).values().all(|(mode, _)| *mode == 0o600));
}

#[test]
fn a_retired_key_is_gone_everywhere_and_the_one_that_signs_cannot_be_retired() {
    let dir = initialised();
    let old = AuthSecrets::load(dir.path()).unwrap().active_key.kid().to_owned();
    assert!(matches!(retire_token_key(dir.path(), &old), Err(SecretsError::Active { .. })));
    let active = rotate_token_key(dir.path()).unwrap().active;
    retire_token_key(dir.path(), &old).unwrap();
    for service in ["auth", "gateway", "realtime-fanout"] {
        assert!(names_in(dir.path(), service).iter().all(|name| !name.contains(&old)), "{service}");
    }
    let auth = AuthSecrets::load(dir.path()).unwrap();
    assert_eq!(auth.verification_keys, [auth.active_key.verification_key()]);
    assert!(matches!(retire_token_key(dir.path(), &active), Err(SecretsError::Active { .. })));
    for unknown in [old.as_str(), "", "../auth/signing-master", "active"] {
        assert!(matches!(retire_token_key(dir.path(), unknown), Err(SecretsError::UnknownKey { .. })), "{unknown}");
    }
    assert!(names_in(dir.path(), "auth").contains(&"signing-master".to_owned()));
}

#[test]
fn a_rotation_that_was_interrupted_is_completed_by_the_next() {
    let dir = initialised();
    let old = AuthSecrets::load(dir.path()).unwrap().active_key;
    let pem = old.key.to_pkcs8_pem(ed25519_dalek::pkcs8::spki::der::pem::LineEnding::LF).unwrap();
    rotate_token_key(dir.path()).unwrap();
    // As if it had ended right before it removed the old private key.
    fs::write(dir.path().join(format!("auth/jwt-{}.pem", old.kid())), pem.as_bytes()).unwrap();
    assert_eq!(AuthSecrets::load(dir.path()).unwrap().verification_keys.len(), 2);
    let rotated = rotate_token_key(dir.path()).unwrap();
    assert_eq!(rotated.verifying.len(), 2);
    let private = names_in(dir.path(), "auth").into_iter().filter(|n| n.ends_with(".pem") && !n.contains(".pub."));
    assert_eq!(private.collect::<Vec<_>>(), [format!("jwt-{}.pem", rotated.active)]);

    let first = AuthSecrets::load(dir.path()).unwrap().signing_masters.current;
    let (own, other) = (dir.path().join("auth/signing-master"), dir.path().join("gateway/signing-master"));
    let text = fs::read_to_string(&own).unwrap();
    rotate_signing_master(dir.path()).unwrap();
    let second = GatewaySecrets::load(dir.path()).unwrap().signing_masters.current;
    // As if it had ended after the gateway's copy.
    fs::write(&own, text).unwrap();
    fs::remove_file(dir.path().join("auth/signing-master.previous")).unwrap();
    rotate_signing_master(dir.path()).unwrap();
    let completed = SigningMasters { current: second, previous: Some(first) };
    assert_eq!(AuthSecrets::load(dir.path()).unwrap().signing_masters, completed);
    assert_eq!(GatewaySecrets::load(dir.path()).unwrap().signing_masters, completed);
    assert_eq!(fs::read_to_string(own).unwrap(), fs::read_to_string(other).unwrap());
}

#[test]
fn a_rotated_master_keeps_the_one_before_and_is_not_rotated_again_while_that_is_in_use() {
    let dir = initialised();
    let first = AuthSecrets::load(dir.path()).unwrap().signing_masters.current;
    rotate_signing_master(dir.path()).unwrap();
    let auth = AuthSecrets::load(dir.path()).unwrap();
    let gateway = GatewaySecrets::load(dir.path()).unwrap();
    assert_eq!(auth.signing_masters, gateway.signing_masters);
    assert_eq!(auth.signing_masters.previous.as_ref(), Some(&first));
    assert_ne!(auth.signing_masters.current, first);
    let session = SessionId(uuid::Uuid::from_u128(1));
    let keys: Vec<_> = gateway.signing_masters.session_keys(session).collect();
    let derived = |master| SigningKey::for_session(master, session);
    assert_eq!(keys, [derived(&auth.signing_masters.current), derived(&first)]);

    assert!(matches!(rotate_signing_master(dir.path()), Err(SecretsError::RotatedTooLately { .. })));
    assert_eq!(AuthSecrets::load(dir.path()).unwrap().signing_masters, auth.signing_masters, "nothing changed");
    let hour_ago = fs::metadata(dir.path().join("auth/signing-master.previous")).unwrap().modified().unwrap()
        - std::time::Duration::from_secs(3601);
    fs::File::options()
        .write(true)
        .open(dir.path().join("auth/signing-master.previous"))
        .unwrap()
        .set_modified(hour_ago)
        .unwrap();
    rotate_signing_master(dir.path()).unwrap();
    assert_eq!(
        GatewaySecrets::load(dir.path()).unwrap().signing_masters.previous,
        Some(auth.signing_masters.current),
        "the first one is forgotten"
    );
}

#[test]
fn masters_that_do_not_belong_together_are_not_rotated() {
    let (dir, other) = (initialised(), initialised());
    fs::copy(other.path().join("gateway/signing-master"), dir.path().join("gateway/signing-master")).unwrap();
    let before = files_below(dir.path());
    assert!(matches!(rotate_signing_master(dir.path()), Err(SecretsError::Mismatch { .. })));
    assert_eq!(files_below(dir.path()), before);
}
