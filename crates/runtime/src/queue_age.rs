//! How long accepted updates have been waiting, as readiness and metrics see it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use common::ports::Dependency;
use opentelemetry::KeyValue;

/// Tells the age of the oldest update that waits; zero when none does.
pub type Age = Arc<dyn Fn() -> Duration + Send + Sync>;

/// The check `queue_age`: not ready while what waits is older than it may be.
pub struct QueueAge {
    age: Age,
    /// Zero: it may be as old as it likes.
    limit: Duration,
}

impl QueueAge {
    /// `age` is asked at each check.
    #[must_use]
    pub const fn new(age: Age, limit: Duration) -> Self {
        Self { age, limit }
    }
}

#[async_trait]
impl Dependency for QueueAge {
    fn name(&self) -> &'static str {
        "queue_age"
    }

    fn setting(&self) -> &'static str {
        "SCOREBOARD__SUBMIT__MAX_QUEUE_AGE_S"
    }

    async fn check(&self) -> Result<(), String> {
        let age = (self.age)();
        if self.limit.is_zero() || age <= self.limit {
            return Ok(());
        }
        Err(format!("the oldest update has waited for {} s; {} s may be", age.as_secs(), self.limit.as_secs()))
    }
}

/// Reports the age as a gauge, for as long as the process lives; `seen_by` tells two of one process apart.
pub fn report(seen_by: &'static str, age: Age) {
    opentelemetry::global::meter("scoreboard")
        .f64_observable_gauge("scoreboard_queue_oldest_age_seconds")
        .with_description("Age of the oldest update that was accepted and is not decided, by who sees it")
        .with_callback(move |observer| observer.observe(age().as_secs_f64(), &[KeyValue::new("seen_by", seen_by)]))
        .build();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_what_is_older_than_the_limit_makes_unready() {
        let check = |age_s, limit_s| {
            let age = Duration::from_secs(age_s);
            QueueAge::new(Arc::new(move || age), Duration::from_secs(limit_s))
        };
        assert_eq!(check(0, 30).check().await, Ok(()));
        assert_eq!(check(30, 30).check().await, Ok(()));
        let told = check(31, 30).check().await.unwrap_err();
        assert!(told.contains("31 s") && told.contains("30 s"), "{told}");
        assert_eq!(check(9_999, 0).check().await, Ok(()), "0 is no limit");
    }
}
