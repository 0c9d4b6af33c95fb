//! Calls to the stores, bounded in time and tries, with their errors turned into what a caller may know.

use std::future::Future;
use std::time::Duration;

use common::error_code::Refusal;
use common::ports::StoreError;

/// The longest that a call to a store may take, tries included.
const DEADLINE: Duration = Duration::from_millis(1500);

/// How often a call is tried that loses races.
const TRIES: u32 = 3;

/// Calls the store. A lost race is tried again, everything else is logged here and refused.
///
/// # Errors
/// `unavailable`, `internal`.
pub(crate) async fn ask<T, F, R>(operation: &'static str, call: F) -> Result<T, Refusal>
where
    F: FnMut() -> R,
    R: Future<Output = Result<T, StoreError>>,
{
    ask_within(DEADLINE, operation, call).await
}

async fn ask_within<T, F, R>(deadline: Duration, operation: &'static str, mut call: F) -> Result<T, Refusal>
where
    F: FnMut() -> R,
    R: Future<Output = Result<T, StoreError>>,
{
    let trying = async {
        let mut tried = 1;
        loop {
            match call().await {
                Err(StoreError::Conflict { .. }) if tried < TRIES => tried += 1,
                result => return result,
            }
        }
    };
    match tokio::time::timeout(deadline, trying).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) if error.is_transient() => {
            tracing::warn!(operation, error = chain(&error), "the account store is not available");
            Err(Refusal::unavailable())
        }
        Ok(Err(error)) => {
            tracing::error!(operation, error = chain(&error), "the account store refuses what auth asks");
            Err(Refusal::internal())
        }
        Err(_) => {
            tracing::warn!(operation, deadline_ms = deadline.as_millis(), "the account store does not answer in time");
            Err(Refusal::unavailable())
        }
    }
}

/// An error with its causes, for the log.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use common::error_code::ErrorCode;

    use super::*;

    fn conflict() -> StoreError {
        StoreError::Conflict { store: "test", source: "lost a race".into() }
    }

    #[tokio::test]
    async fn a_lost_race_is_tried_again_but_not_for_ever() {
        let mut calls = 0;
        let answer = ask("test", || {
            calls += 1;
            let won = calls == 3;
            async move { if won { Ok("won") } else { Err(conflict()) } }
        })
        .await;
        assert_eq!(answer, Ok("won"));

        let mut calls = 0;
        let refused = ask::<(), _, _>("test", || {
            calls += 1;
            async { Err(conflict()) }
        })
        .await;
        assert_eq!(refused.unwrap_err().code, ErrorCode::Unavailable);
        assert_eq!(calls, TRIES);
    }

    #[tokio::test]
    async fn a_store_that_does_not_answer_is_unavailable() {
        let refused = ask_within::<(), _, _>(Duration::from_millis(5), "test", std::future::pending).await.unwrap_err();
        assert_eq!((refused.code, refused.retry_after_s), (ErrorCode::Unavailable, Some(1)));
    }

    #[tokio::test]
    async fn a_drivers_words_are_not_shown() {
        let refused = ask::<(), _, _>("test", || async {
            Err(StoreError::Refused { store: "test", source: "duplicate key value violates".into() })
        })
        .await;
        assert_eq!(refused.unwrap_err(), Refusal::internal());
    }
}
