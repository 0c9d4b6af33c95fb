//! `scoreboard key init DIR`.

use std::path::Path;

use runtime::exit::{Exit, Failure, causes};
use serde_json::json;

use crate::output::Output;

pub(crate) fn init(dir: &Path, output: Output) -> Result<Exit, Failure> {
    let report = runtime::secrets::init(dir).map_err(|error| Failure::new(Exit::Config, causes(&error)))?;
    let created: Vec<_> = report.created.iter().map(|path| path.display().to_string()).collect();
    output.print(&json!({"dir": dir, "created": created, "kept": report.kept}), || {
        let dir = dir.display();
        match (created.len(), report.kept) {
            (0, kept) => format!("{dir}: all {kept} secrets were there and stay as they are"),
            (made, kept) => format!(
                "{dir}: {made} files made, {kept} kept. Give each service its own subdirectory and name the directory \
                 in SCOREBOARD__SECRETS__DIR"
            ),
        }
    });
    Ok(Exit::Success)
}
