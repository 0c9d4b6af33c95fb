//! Where settings come from, which win, and what is refused.

use super::*;

fn load(environment: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Settings::load(&Sources { environment, ..Sources::default() })
}

#[test]
fn embedded_needs_none() {
    let settings = load(&[]).unwrap();
    assert_eq!(settings.mode(), Ok(Mode::Embedded));
    assert_eq!(settings.limits.user_updates_per_minute, 10);
    assert_eq!(settings.admin_listen(Service::ScoreWorker).port(), 9093);
}

#[test]
fn an_unknown_key_names_the_nearest() {
    let error = load(&[("SCOREBOARD__LIMITS__USER_UPDATE_PER_MINUTE", "5")]).unwrap_err();
    assert_eq!(
        error,
        SettingsError::Unknown {
            origin: "SCOREBOARD__LIMITS__USER_UPDATE_PER_MINUTE".into(),
            nearest: "SCOREBOARD__LIMITS__USER_UPDATES_PER_MINUTE".into()
        }
    );
}

#[test]
fn what_kubernetes_injects_is_not_ours() {
    assert!(load(&[("SCOREBOARD_PORT", "tcp://10.0.0.1:8080")]).is_ok());
}

#[test]
fn a_bad_value_names_its_variable() {
    let error = load(&[("SCOREBOARD__SUBMIT__WAIT_MS", "soon")]).unwrap_err();
    assert!(error.to_string().starts_with("SCOREBOARD__SUBMIT__WAIT_MS"), "{error}");
    let error = load(&[("SCOREBOARD__HTTP__LISTEN", "8080")]).unwrap_err();
    assert!(error.to_string().starts_with("SCOREBOARD__HTTP__LISTEN"), "{error}");
}

#[test]
fn a_number_that_would_turn_suspicion_off_or_mad_is_refused() {
    let bad = [("THRESHOLD", "NaN"), ("THRESHOLD", "inf"), ("THRESHOLD", "-1"), ("WINDOW_S", "0")];
    for (setting, value) in bad {
        let name = format!("SCOREBOARD__WORKER__SUSPICION_{setting}");
        let error = load(&[(&name, value)]).expect_err(value);
        assert!(error.to_string().starts_with(&name), "{error}");
        assert_eq!(Failure::from(error).exit, Exit::Config);
    }
    assert!(load(&[("SCOREBOARD__WORKER__SUSPICION_THRESHOLD", "0")]).is_ok(), "0 holds nothing");
    let flags = vec![("worker.suspicion_threshold".to_owned(), "-inf".to_owned())];
    let error = Settings::load(&Sources { flags, ..Sources::default() }).unwrap_err();
    assert!(error.to_string().contains("suspicion_threshold"), "{error}");
}

#[test]
fn the_servers_must_be_whole() {
    let error = load(&[("SCOREBOARD__REDIS__URL", "redis://x")]).unwrap_err();
    assert!(matches!(error, SettingsError::HalfDistributed { .. }));
}

#[test]
fn flags_win_over_environment_over_file() {
    let file = std::env::temp_dir().join(format!("scoreboard-settings-{}.toml", std::process::id()));
    std::fs::write(&file, "[submit]\nwait_ms = 5\n[stream]\ntick_ms = 7\n[http]\nallowed_origins = [\"https://a\"]\n")
        .unwrap();
    let sources = Sources {
        file: Some(file.clone()),
        environment: [
            ("SCOREBOARD__SUBMIT__WAIT_MS".to_owned(), "6".to_owned()),
            ("SCOREBOARD__STREAM__TICK_MS".to_owned(), "8".to_owned()),
        ]
        .into(),
        flags: vec![("submit.wait_ms".into(), "9".into())],
    };
    let settings = Settings::load(&sources).unwrap();
    std::fs::remove_file(file).unwrap();
    assert_eq!((settings.submit.wait_ms, settings.stream.tick_ms), (9, 8));
    assert_eq!(settings.http.allowed_origins, ["https://a"]);
}

#[test]
fn secrets_are_not_printed() {
    let settings = load(&[
        ("SCOREBOARD__REDIS__URL", "redis://:hunter2@x"),
        ("SCOREBOARD__AMQP__URL", "amqp://a:hunter2@x"),
        ("SCOREBOARD__DATABASE__URL", "postgres://a:hunter2@x"),
    ])
    .unwrap();
    assert!(!format!("{settings:?}").contains("hunter2"));
}
