//! Why a run could not be made. What a run found wrong is a finding, not a failure.

use std::process::ExitCode;

/// A run ended without a result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The command line asks for something that does not exist.
    #[error("{0}")]
    Usage(String),
    /// A server does not answer, or not as it must.
    #[error("{what}: {problem}")]
    Server {
        /// Which.
        what: String,
        /// What happened.
        problem: String,
    },
    /// The machine does not give what is needed.
    #[error("{what}")]
    System {
        /// What was tried.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Failure {
    pub(crate) fn server(what: impl Into<String>, problem: impl std::fmt::Display) -> Self {
        Self::Server { what: what.into(), problem: problem.to_string() }
    }

    pub(crate) fn system(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        |source| Self::System { what, source }
    }

    /// The exit code, as the product's own command line has them.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Usage(_) => 2,
            Self::Server { .. } => 69,
            Self::System { .. } => 70,
        })
    }
}
