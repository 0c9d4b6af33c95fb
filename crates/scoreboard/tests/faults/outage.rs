//! Something that is wrong for a while, under load, and what must hold meanwhile and afterwards.

use std::time::{Duration, Instant};

use testkit::waiting::eventually;
use tokio::time::sleep;

use crate::deployment::Deployment;
use crate::instance::{Consuming, Instance};
use crate::load::{Load, Promised};

/// The contract's promise for every outage of the broker.
pub(crate) const RECOVERY: Duration = Duration::from_secs(10);
/// From the end of the load until all sums are equal.
pub(crate) const EQUAL_WITHIN: Duration = Duration::from_secs(15);

/// Whether promises are given during an outage.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum During {
    Promised,
    Refused,
}

/// Something is done under load and undone after a while. Then promises are given again within 10 s, everything promised
/// is in the truth, and the worker consumes as before.
pub(crate) async fn survived(
    instance: &Instance,
    test: &str,
    during: During,
    not_ready: Option<&str>,
    lasts: Duration,
    fault: impl AsyncFnOnce(&Instance),
    repair: impl AsyncFnOnce(&Instance),
) {
    let deployment = instance.four_processes().await;
    let before = instance.consuming(&deployment);
    let load = Load::start(&deployment, 20, 100).await;
    load.promised_again(RECOVERY, "a first promise").await;
    fault(instance).await;
    let began = Instant::now();
    // Past the change-over: what was under way when it began has ended.
    sleep(Duration::from_secs(4).min(lasts / 2)).await;
    let promised = load.promised();
    if let Some(service) = not_ready {
        eventually(Duration::from_secs(5), "readiness to say so", async || {
            deployment.told_by(service, "/readyz").await.is_some_and(|(status, _)| status == 503)
        })
        .await;
    }
    sleep(lasts.saturating_sub(began.elapsed())).await;
    let more = load.promised() - promised;
    eprintln!("{test}: {more} promises while it lasted");
    match during {
        During::Promised => assert!(more > 0, "accepted work waits, it is not refused"),
        During::Refused => assert_eq!(more, 0, "nothing may be promised"),
    }
    repair(instance).await;
    for port in ["postgres_port", "redis_port", "amqp_port"] {
        instance.listens(port).await;
    }
    let repaired = Instant::now();
    load.promised_again(RECOVERY, "a promise after the repair").await;
    eprintln!("    promises {} ms after the repair", repaired.elapsed().as_millis());
    let promised = load.stop(test).await;
    is_as_before(instance, &deployment, &before, &promised).await;
    deployment.stop().await;
}

/// Everybody was answered in time, what was promised is in the truth, nothing was put aside because a server was away, and
/// the worker consumes as it did.
pub(crate) async fn is_as_before(
    instance: &Instance,
    deployment: &Deployment,
    before: &Consuming,
    promised: &Promised,
) {
    promised.was_answered_in_time();
    promised.is_in_the_truth(deployment, EQUAL_WITHIN).await;
    let (exit, told) = deployment.operate(&["dead-letters", "list", "--json"]);
    assert_eq!((exit, told.trim()), (Some(0), r#"{"deadLetters":[]}"#));
    eventually(RECOVERY, "the worker to consume as before", async || {
        let now = instance.consuming(deployment);
        if now == *before { Ok(()) } else { Err(format!("{now:?}, before {before:?}")) }
    })
    .await;
    deployment.ready().await;
}
