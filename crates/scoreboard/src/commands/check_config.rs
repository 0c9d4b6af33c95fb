//! `scoreboard check-config [--connect]`.

use std::fmt::Write as _;
use std::sync::Arc;

use common::ports::Dependency;
use runtime::admin::Readiness;
use runtime::clock::SystemClock;
use runtime::exit::{Exit, Failure};
use runtime::settings::{EffectiveSetting, Mode, Service, Settings, Sources};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::backends::Backends;
use crate::output::Output;
use crate::secrets;

struct Checked {
    name: &'static str,
    setting: &'static str,
    result: Result<(), String>,
}

pub(crate) async fn run(sources: &Sources, connect: bool, output: Output) -> Result<Exit, Failure> {
    let settings = Settings::load(sources)?;
    let effective = Settings::effective(sources, Service::AllInOne)?;
    let mode = match settings.mode()? {
        Mode::Embedded => "embedded",
        Mode::Distributed => "distributed",
    };
    secrets::check(&settings)?;
    let checked = if connect { ask(&settings).await? } else { Vec::new() };
    output.print(&as_json(mode, &effective, &checked), || in_words(mode, &effective, &checked));
    match checked.iter().find_map(|check| check.result.as_ref().err().map(|cause| (check, cause))) {
        None => Ok(Exit::Success),
        Some((check, cause)) => Err(Failure::unavailable(check.name, check.setting, cause)),
    }
}

async fn ask(settings: &Settings) -> Result<Vec<Checked>, Failure> {
    let backends = Backends::open(settings, Arc::new(SystemClock))?;
    let dependencies: Vec<Arc<dyn Dependency>> = backends.dependencies.clone();
    let results = Readiness::new(dependencies.clone(), CancellationToken::new()).check().await;
    backends.close().await;
    // The last result is the process's own state.
    let checks = dependencies.iter().zip(results);
    Ok(checks.map(|(dependency, (name, result))| Checked { name, setting: dependency.setting(), result }).collect())
}

fn as_json(mode: &str, effective: &[EffectiveSetting], checked: &[Checked]) -> Value {
    let settings: Vec<_> = effective
        .iter()
        .map(|setting| json!({"key": setting.key, "value": setting.value, "origin": setting.origin}))
        .collect();
    let dependencies: Vec<_> = checked
        .iter()
        .map(|check| json!({"name": check.name, "setting": check.setting, "ok": check.result.is_ok(), "error": check.result.as_ref().err()}))
        .collect();
    json!({"mode": mode, "settings": settings, "dependencies": dependencies})
}

fn in_words(mode: &str, effective: &[EffectiveSetting], checked: &[Checked]) -> String {
    let mut text = format!("backends: {mode}\n");
    for EffectiveSetting { key, value, origin } in effective {
        let value = if value.is_empty() { "-" } else { value };
        let _ = writeln!(text, "{key:<40} {value:<36} {origin}");
    }
    for check in checked {
        let state = check.result.as_ref().map_or_else(String::as_str, |()| "ok");
        let _ = writeln!(text, "{}: {state}", check.name);
    }
    text.trim_end().to_owned()
}
