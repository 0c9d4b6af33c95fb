//! What commands print: for people, or with `--json` for programs.

use std::io::{self, Write as _};

use runtime::exit::Failure;
use serde_json::Value;

/// Where and how results go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) const fn new(json: bool) -> Self {
        Self { json }
    }

    /// Prints a result: `text` for people, `value` as one line of JSON for programs.
    pub(crate) fn print(self, value: &Value, text: impl FnOnce() -> String) {
        let line = if self.json { value.to_string() } else { text() };
        let mut out = io::stdout().lock();
        if let Err(error) = writeln!(out, "{line}").and_then(|()| out.flush()) {
            // `scoreboard watch | head`: the reader has enough. There is nobody to tell anything else either.
            std::process::exit(i32::from(error.kind() != io::ErrorKind::BrokenPipe));
        }
    }

    /// Prints why a command failed, on standard error.
    pub(crate) fn failure(self, failure: &Failure) {
        let line = if self.json {
            serde_json::json!({"error": {"exitCode": failure.exit.code(), "message": failure.message}}).to_string()
        } else {
            format!("error: {}", failure.message)
        };
        // A closed standard error leaves the exit code to tell.
        let _ = writeln!(io::stderr().lock(), "{line}");
    }
}
