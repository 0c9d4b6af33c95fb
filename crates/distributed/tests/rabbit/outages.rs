//! A broker that goes, stalls, or takes nothing.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::account::Revocation;
use common::ids::SubmissionId;
use common::ports::{Dependency as _, Event, EventBus as _, SubmitError, UpdateQueue as _, UpdateSource as _};
use distributed::rabbit::{Rabbit, RabbitQueue};
use runtime::clock::SystemClock;
use testkit::fixtures::{noon, session_id};
use testkit::proxy::Proxy;
use testkit::waiting::{eventually, within};

use super::broker::{
    Look, Place, RECOVERY, UPDATES_TYPE, accept, accept_in_the_end, before_the_broker, connected, drain, update,
};

/// Well under the 2 s that a hang would take.
const AT_ONCE: Duration = Duration::from_millis(500);

/// `connection.blocked`, as the broker says it in a memory or disk alarm.
const BLOCKED: &[u8] = &[1, 0, 0, 0, 0, 0, 9, 0, 10, 0, 60, 4, b't', b'e', b's', b't', 0xCE];

/// `connection.unblocked`.
const UNBLOCKED: &[u8] = &[1, 0, 0, 0, 0, 0, 4, 0, 10, 0, 61, 0xCE];

async fn behind(proxy: &Proxy) -> (Place, Rabbit, RabbitQueue) {
    let place = Place::at(proxy.url());
    let rabbit = place.rabbit().await;
    let queue = rabbit.queue();
    accept_in_the_end(&queue, 0).await;
    (place, rabbit, queue)
}

/// The refusal, and how long it took.
async fn refusal(queue: &RabbitQueue) -> Duration {
    let started = Instant::now();
    let refused = accept(queue, update(99)).await.expect_err("the broker is away");
    assert!(matches!(refused, SubmitError::Unavailable(_)), "{refused:?}");
    started.elapsed()
}

#[tokio::test]
async fn without_a_broker_a_submission_is_refused_at_once() {
    let proxy = before_the_broker().await;
    proxy.refuse(true);
    let place = Place::at(proxy.url());
    let rabbit = Rabbit::new(place.settings(), Arc::new(SystemClock));
    let queue = rabbit.queue();
    assert!(refusal(&queue).await < AT_ONCE);
    let why = rabbit.dependency().check().await.expect_err("not there");
    assert!(why.contains("not connected") && !why.contains("guest"), "{why}");
    proxy.refuse(false);
    accept_in_the_end(&queue, 1).await;
    connected(&rabbit).await;
}

#[tokio::test]
async fn a_connection_that_breaks_is_refused_at_once_and_rebuilt() {
    let proxy = before_the_broker().await;
    let (_place, rabbit, queue) = behind(&proxy).await;
    for _ in 0..2 {
        proxy.refuse(true);
        proxy.cut();
        eventually(RECOVERY, "the first refusal", async || accept(&queue, update(1)).await.is_err()).await;
        assert!(refusal(&queue).await < AT_ONCE);
        rabbit.dependency().check().await.expect_err("not there");
        proxy.refuse(false);
        accept_in_the_end(&queue, 2).await;
        connected(&rabbit).await;
    }
}

#[tokio::test]
async fn a_broker_that_says_nothing_is_given_up_in_time_and_found_again() {
    let proxy = before_the_broker().await;
    let (_place, rabbit, queue) = behind(&proxy).await;
    proxy.freeze(true);
    assert!(refusal(&queue).await < Duration::from_secs(2));
    let asked = Instant::now();
    rabbit.dependency().check().await.expect_err("it says nothing");
    assert!(asked.elapsed() < Duration::from_secs(1), "a check must answer within 1 s");
    // Long enough for the connection to be given up, and for an attempt to meet the silence too.
    eventually(RECOVERY, "a refusal without waiting", async || refusal(&queue).await < AT_ONCE).await;
    proxy.freeze(false);
    accept_in_the_end(&queue, 2).await;
    connected(&rabbit).await;
    // Abandoned handshakes leave nothing open: one connection of `queue` and `dependency` remains.
    eventually(RECOVERY, "one connection", async || match proxy.connections() {
        1 => Ok(()),
        more => Err(format!("{more} connections")),
    })
    .await;
}

#[tokio::test]
async fn a_blocked_broker_refuses_at_once_until_it_is_unblocked() {
    let proxy = before_the_broker().await;
    let (_place, rabbit, queue) = behind(&proxy).await;
    connected(&rabbit).await;
    proxy.say(BLOCKED);
    eventually(RECOVERY, "the first refusal", async || accept(&queue, update(1)).await.is_err()).await;
    assert!(refusal(&queue).await < AT_ONCE);
    let why = rabbit.dependency().check().await.expect_err("blocked");
    assert!(why.contains("blocked"), "{why}");
    proxy.say(UNBLOCKED);
    accept_in_the_end(&queue, 2).await;
    connected(&rabbit).await;
}

/// Whatever was accepted while connections broke is received at least once, and the worker gets going by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_accepted_is_lost_when_connections_break() {
    let proxy = before_the_broker().await;
    let (_place, rabbit, queue) = behind(&proxy).await;
    let (queue, source) = (Arc::new(queue), Arc::new(rabbit.source()));
    let done = Arc::new(AtomicBool::new(false));
    let submitters = (0..8).map(|part| {
        let (queue, done) = (Arc::clone(&queue), Arc::clone(&done));
        tokio::spawn(async move {
            let mut accepted = Vec::new();
            for n in (0..).map(|n| 1_000 * (part + 1) + n) {
                if done.load(Ordering::SeqCst) {
                    break;
                }
                let update = update(n);
                let submission = update.submission;
                match queue.submit(update, Duration::ZERO).await {
                    Ok(_) => accepted.push(submission),
                    Err(_) => accept_in_the_end(&*queue, n).await,
                }
            }
            accepted
        })
    });
    let submitters: Vec<_> = submitters.collect();
    let received = Arc::new(parking_lot::Mutex::new(HashSet::<SubmissionId>::new()));
    let worker = {
        let (source, received) = (Arc::clone(&source), Arc::clone(&received));
        tokio::spawn(async move {
            loop {
                let deliveries = source.receive(100, Duration::ZERO).await.expect("receive");
                received.lock().extend(deliveries.iter().flat_map(|d| &d.updates).map(|u| u.submission));
                // An error says that they come again.
                let _ = source.acknowledge(&deliveries.iter().map(|d| d.tag).collect::<Vec<_>>()).await;
            }
        })
    };
    for _ in 0..4 {
        let before = received.lock().len();
        eventually(RECOVERY, "100 more updates", async || received.lock().len() > before + 100).await;
        proxy.cut();
    }
    done.store(true, Ordering::SeqCst);
    let mut accepted = Vec::new();
    for submitter in submitters {
        accepted.extend(within(RECOVERY, "a submitter", submitter).await.unwrap());
    }
    assert!(accepted.len() > 400);
    eventually(RECOVERY, "all that was accepted", async || {
        let received = received.lock();
        match accepted.iter().filter(|submission| !received.contains(submission)).count() {
            0 => Ok(()),
            missing => Err(format!("{missing} of {} missing", accepted.len())),
        }
    })
    .await;
    worker.abort();
}

/// The contract of `PendingMarks` and the receipt make it whole; here: confirmed and without answer is pending.
#[tokio::test]
async fn an_answer_that_is_lost_with_its_connection_ends_the_wait_as_pending() {
    let proxy = before_the_broker().await;
    let (_place, rabbit, queue) = behind(&proxy).await;
    let source = rabbit.source();
    let started = Instant::now();
    let submission = tokio::spawn(async move { queue.submit(update(5), Duration::from_secs(60)).await });
    let mut waiting = HashSet::new();
    while !waiting.contains("action-5") {
        let deliveries = within(RECOVERY, "work", source.receive(10, Duration::ZERO)).await.unwrap();
        waiting.extend(deliveries.iter().flat_map(|d| &d.updates).map(|u| u.action_id.to_string()));
    }
    proxy.cut();
    let outcome = within(RECOVERY, "the wait to end", submission).await.unwrap();
    assert!(matches!(outcome, Ok(common::ports::Submitted::Pending)), "{outcome:?}");
    assert!(started.elapsed() < Duration::from_secs(30), "nobody waits for an answer that cannot come");
}

#[tokio::test]
async fn a_queue_that_is_too_long_takes_no_more_says_when_and_takes_again() {
    let place = Place::new();
    let rabbit = Rabbit::new(place.settings().with_max_queued(20), Arc::new(SystemClock));
    connected(&rabbit).await;
    let queue = rabbit.queue();
    let refused = eventually(RECOVERY, "a refusal", async || {
        for n in 0..10 {
            match queue.submit(update(n), Duration::ZERO).await {
                Ok(_) => {}
                Err(error) => return Ok(error),
            }
        }
        Err("taken")
    })
    .await;
    assert!(matches!(refused, SubmitError::Behind { retry_after_s: 1..=60 }), "{refused:?}");
    let depth = rabbit.queue_depth();
    let why = depth.check().await.expect_err("not ready");
    assert!(why.contains("messages wait"), "{why}");
    rabbit.dependency().check().await.expect("the broker itself is well");
    let source = rabbit.source();
    let draining = tokio::spawn(async move { super::broker::drain(&source, 1_000_000).await });
    accept_in_the_end(&queue, 2).await;
    depth.check().await.expect("ready again");
    draining.abort();
}

/// A worker that only listens never learns by sending that its connection leads nowhere.
#[tokio::test]
async fn a_consumer_on_a_half_open_connection_finds_out_by_its_heartbeat() {
    let (proxy, look) = (before_the_broker().await, Look::new().await);
    let place = Place::at(format!("{}?heartbeat=1", proxy.url()));
    let rabbit = place.rabbit().await;
    let source = rabbit.source();
    look.publish(&place.updates(), UPDATES_TYPE, &wire::encode_updates([&update(1)])).await;
    drain(&source, 1).await;
    proxy.lose(true);
    // New connections are sound at once: only the old ones stay as they are, for ever.
    proxy.lose(false);
    look.publish(&place.updates(), UPDATES_TYPE, &wire::encode_updates([&update(2)])).await;
    // The acknowledgement of the first may have been lost as well: then it comes again, before the second or with it.
    within(RECOVERY, "work over a new connection", async {
        while !drain(&source, 1).await.iter().any(|update| update.action_id.as_str() == "action-2") {}
    })
    .await;
}

/// Nothing but confirms that do not come tells a publisher that its connection leads nowhere.
#[tokio::test]
async fn a_publisher_on_a_half_open_connection_finds_out_by_its_confirms() {
    let proxy = before_the_broker().await;
    let place = Place::at(proxy.url());
    let bus = place.rabbit().await.bus();
    let event = Event::SessionRevoked(Revocation { session: session_id(), revoked_at: noon() });
    eventually(RECOVERY, "an event to be taken", || bus.publish(event.clone())).await;
    proxy.lose(true);
    proxy.lose(false);
    bus.publish(event.clone()).await.expect_err("it vanishes");
    eventually(RECOVERY, "an event to be taken again", || bus.publish(event.clone())).await;
}

#[tokio::test]
async fn an_attempt_to_connect_that_leads_nowhere_is_given_up() {
    let proxy = before_the_broker().await;
    proxy.lose(true);
    let place = Place::at(proxy.url());
    let rabbit = Rabbit::new(place.settings(), Arc::new(SystemClock));
    let queue = rabbit.queue();
    eventually(RECOVERY, "an attempt", async || proxy.connections() == 1).await;
    proxy.lose(false);
    accept_in_the_end(&queue, 1).await;
}

/// A broker in an alarm stops reading from connections that publish: acknowledgements must not lie behind that.
#[tokio::test]
async fn publishing_and_consuming_have_a_connection_each() {
    let proxy = before_the_broker().await;
    let (place, rabbit, queue) = behind(&proxy).await;
    assert_eq!(proxy.connections(), 1, "whoever only publishes has one");
    let source = rabbit.source();
    assert_eq!(drain(&source, 1).await.len(), 1, "what `behind` had accepted");
    accept(&queue, update(1)).await.expect("accepted");
    drain(&source, 1).await;
    assert_eq!(proxy.connections(), 2);
    rabbit.close().await;
    Look::new().await.ready(&place.updates(), 0).await;
}

/// Whoever comes while a few messages are on their way shares the next one, a message every 10 ms at most; so a slow broker is
/// sent fewer messages, not more.
#[tokio::test]
async fn updates_that_come_while_the_broker_is_slow_share_messages() {
    const UPDATES: usize = 90;
    let proxy = before_the_broker().await;
    let (place, _rabbit, queue) = behind(&proxy).await;
    let look = Look::new().await;
    let before = look.counts(&place.updates()).await.0;
    let queue = Arc::new(queue);
    proxy.freeze(true);
    let began = Instant::now();
    let mut submitted = Vec::new();
    for n in 0..UPDATES {
        let queue = Arc::clone(&queue);
        submitted.push(tokio::spawn(async move { accept(&*queue, update(n)).await }));
        // Each alone in the publisher's hands: nobody shares a message by chance.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }
    let took = began.elapsed();
    proxy.freeze(false);
    for submission in submitted {
        within(RECOVERY, "a confirm", submission).await.unwrap().expect("taken");
    }
    let messages = look.counts(&place.updates()).await.0 - before;
    let most = 4 + 2 + u32::try_from(began.elapsed().as_millis() / 10).unwrap();
    assert!(messages <= most, "{messages} messages, {most} at most; submitted within {took:?}");
    assert!(messages < 45, "{messages} messages for {UPDATES} updates");
}
