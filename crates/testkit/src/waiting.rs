//! Waiting on conditions with a deadline: the one place in tests that may sleep.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

/// How long a test waits for what should be there at once on an idle machine.
pub const SOON: Duration = Duration::from_secs(10);

/// What a look at the world found: the awaited value, or how things stood instead.
pub trait Sight {
    /// What is awaited.
    type Value;

    /// The value, or the state to show when the deadline passes.
    fn value(self) -> Result<Self::Value, String>;
}

impl<T> Sight for Option<T> {
    type Value = T;
    fn value(self) -> Result<T, String> {
        self.ok_or_else(|| "nothing yet".to_owned())
    }
}

impl<T, E: Display> Sight for Result<T, E> {
    type Value = T;
    fn value(self) -> Result<T, String> {
        self.map_err(|state| state.to_string())
    }
}

impl Sight for bool {
    type Value = ();
    fn value(self) -> Result<(), String> {
        self.then_some(()).ok_or_else(|| "not yet".to_owned())
    }
}

/// Looks until `probe` gives the value: `Some`, `Ok` or `true`.
///
/// # Panics
/// When `deadline` passes first, with `what` was awaited and how things stood at the last look.
pub async fn eventually<S, F, Fut>(deadline: Duration, what: &str, mut probe: F) -> S::Value
where
    S: Sight,
    F: FnMut() -> Fut,
    Fut: Future<Output = S>,
{
    let until = Instant::now() + deadline;
    let mut last = "never looked to the end".to_owned();
    let mut pause = Duration::from_millis(1);
    loop {
        match timeout_at(until, probe()).await {
            Ok(sight) => match sight.value() {
                Ok(value) => return value,
                Err(state) => last = state,
            },
            Err(_) => panic!("waited {deadline:?} for {what}; the last look did not come back, before it: {last}"),
        }
        assert!(Instant::now() < until, "waited {deadline:?} for {what}; last seen: {last}");
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// The output of `future`.
///
/// # Panics
/// When it takes longer than `deadline`, with `what` was awaited.
pub async fn within<T>(deadline: Duration, what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(deadline, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited {deadline:?} for {what}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn gives_the_value_when_it_comes() {
        let mut looks = 0;
        let found = eventually(SOON, "the third look", || {
            looks += 1;
            let seen = (looks == 3).then_some(looks);
            async move { seen }
        })
        .await;
        assert_eq!(found, 3);
    }

    #[tokio::test]
    #[should_panic(expected = "for a pig to fly; last seen: it walks")]
    async fn says_what_was_awaited_and_what_was_seen() {
        eventually(Duration::from_millis(20), "a pig to fly", || async { Err::<(), _>("it walks") }).await;
    }

    #[tokio::test]
    #[should_panic(expected = "the last look did not come back")]
    async fn a_look_that_hangs_ends_too() {
        eventually(Duration::from_millis(20), "an answer", std::future::pending::<bool>).await;
    }
}
