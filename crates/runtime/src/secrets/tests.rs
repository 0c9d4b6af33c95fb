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
    assert_eq!(auth.signing_master, gateway.signing_master);
    assert_ne!(auth.signing_master, auth.refresh_master);
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
        assert_eq!(auth.signing_master, gateway.signing_master);
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
