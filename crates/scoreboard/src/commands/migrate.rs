//! `scoreboard migrate`.

use runtime::exit::{Exit, Failure};
use runtime::settings::{Mode, Settings, Sources};
use serde_json::json;

use crate::backends;
use crate::output::Output;

pub(crate) async fn run(sources: &Sources, output: Output) -> Result<Exit, Failure> {
    let settings = Settings::load(sources)?;
    if settings.mode()? == Mode::Embedded {
        let applied = backends::migrate_embedded(&settings)?;
        output.print(&json!({"database": "sqlite", "applied": applied, "upToDate": true}), || {
            format!("the database in {} is up to date ({applied} migrations applied)", settings.data.dir.display())
        });
        return Ok(Exit::Success);
    }
    let report = backends::migrate(&settings).await?;
    let (applied, schema) = (report.applied, report.schema);
    output.print(&json!({"database": "postgresql", "applied": applied, "schema": schema, "upToDate": true}), || {
        if applied.is_empty() {
            format!("the database is up to date (schema {schema})")
        } else {
            format!("applied {}; the schema has version {schema} now", applied.join(", "))
        }
    });
    Ok(Exit::Success)
}
