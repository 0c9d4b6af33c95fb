//! `scoreboard openapi`.

use runtime::exit::{Exit, Failure};

use crate::output::Output;

pub(crate) fn run(output: Output) -> Result<Exit, Failure> {
    let document = serde_json::to_value(gateway::openapi_document())
        .map_err(|error| Failure::new(Exit::Bug, format!("the document cannot be written: {error}")))?;
    output.print(&document, || format!("{document:#}"));
    Ok(Exit::Success)
}
