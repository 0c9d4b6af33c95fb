//! Exit codes (sysexits.h where it has one), and the errors that carry them.

use std::process::ExitCode;

/// Why a process ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// All went well.
    Success,
    /// The command line is wrong.
    Usage,
    /// A dependency is down.
    Unavailable,
    /// A bug.
    Bug,
    /// Draining took longer than 10 s, or a second signal asked for the end.
    DrainTimedOut,
    /// A setting is wrong.
    Config,
    /// `verify` found a difference.
    Different,
    /// A server refused what a command asked it for.
    Refused,
}

impl Exit {
    /// The number.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Different | Self::Refused => 1,
            Self::Usage => 2,
            Self::Unavailable => 69,
            Self::Bug => 70,
            Self::DrainTimedOut => 75,
            Self::Config => 78,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// The end of a process that could not do its work, as its operator reads it.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The code to end with.
    pub exit: Exit,
    /// What is wrong, and the next step.
    pub message: String,
}

impl Failure {
    /// A failure with its code.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }

    /// A server that the work needs is away, or there and not usable; then `cause` names the next step itself.
    pub fn unavailable(what: &str, setting: &str, cause: &str) -> Self {
        let message = if cause.contains("run `") {
            format!("{what} ({setting}) is not usable: {cause}")
        } else {
            format!(
                "{what} is not available: {cause}. It is looked for where {setting} says; start it, or correct the setting"
            )
        };
        Self::new(Exit::Unavailable, message)
    }
}

/// An error with all of its causes, in one line.
#[must_use]
pub fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.ends_with(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        next = cause.source();
    }
    text
}
