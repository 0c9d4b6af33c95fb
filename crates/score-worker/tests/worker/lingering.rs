//! When a worker waits for company.

use std::time::Duration;

use testkit::waiting::{SOON, eventually};

use crate::harness::Harness;

/// Alone, an update is decided at once; only after a batch of several a moment is waited for more, and no longer when they
/// come alone again.
#[tokio::test]
async fn nobody_waits_at_low_load_and_batches_follow_the_load() {
    let harness = Harness::new(3).await;
    let linger = harness.settings.linger;
    assert!(linger > Duration::ZERO);
    let running = harness.start();
    let looks = async |wanted: usize| {
        eventually(SOON, "the next look for work", async || {
            let lingers = harness.source.lingers.lock().clone();
            if lingers.len() >= wanted { Ok(lingers) } else { Err(format!("{lingers:?}")) }
        })
        .await
    };
    looks(1).await;
    harness.source.send(vec![harness.update(0, 1)]);
    assert_eq!(looks(2).await, [Duration::ZERO; 2], "one after the other, nobody waits");
    harness.source.send(vec![harness.update(0, 1), harness.update(1, 1), harness.update(2, 1)]);
    assert_eq!(looks(3).await[2], linger, "they come together");
    harness.source.send(vec![harness.update(0, 1)]);
    assert_eq!(looks(4).await[3], Duration::ZERO, "and alone again");
    running.stop().await;
}
