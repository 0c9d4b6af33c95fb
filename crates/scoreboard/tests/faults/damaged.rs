//! Messages that nobody can read among those that everybody needs.

use std::time::{Duration, Instant};

use common::board::Proof;
use common::clock::Clock as _;
use common::ids::{ActionId, ActionType, BoardId, SubmissionId, UserId};
use common::score_update::{ContentHash, ScoreUpdate, TraceContext};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, ConnectionProperties};
use runtime::clock::SystemClock;
use testkit::waiting::eventually;

use crate::instance::Instance;

const TYPE: &str = "scoreboard.v1.ScoreUpdateBatch";

async fn publish(channel: &Channel, queue: &str, body: &[u8]) {
    let properties = BasicProperties::default()
        .with_type(TYPE.into())
        .with_delivery_mode(2)
        .with_message_id(uuid::Uuid::new_v4().to_string().into());
    let options = BasicPublishOptions::default();
    // Confirms are not waited for one by one: the counts below say whether all arrived.
    let _confirm = channel.basic_publish("".into(), queue.into(), options, body, properties).await.unwrap();
}

fn good(user: UserId, run: &str, n: usize) -> ScoreUpdate {
    let (board, action_type) = (BoardId::global(), ActionType::default_type());
    let action_id = ActionId::parse(&format!("{run}-{n}")).unwrap();
    ScoreUpdate {
        submission: SubmissionId(uuid::Uuid::now_v7()),
        content_hash: ContentHash::of(&board, &action_id, &action_type, Some(1)),
        board,
        user,
        action_id,
        action_type,
        points: 1,
        proof: Proof::Session,
        idempotency_key: None,
        accepted_at: SystemClock.now(),
        address_hash: None,
        request_id: String::new(),
        trace: TraceContext::default(),
    }
}

async fn damaged_among_good(test: &str, goods: usize, bads: usize) {
    let instance = Instance::start(test);
    let deployment = instance.four_processes().await;
    let place = deployment.place.as_ref().unwrap();
    let player = deployment.api.join("player").await;
    let user = UserId::parse(&player.id).unwrap();
    let connection = lapin::Connection::connect(&place.amqp_url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let queue = format!("{}score.updates", place.amqp_prefix);
    let operator = place.operator().await;
    let mut took = Vec::new();
    for (run, bads) in [("clean", 0), ("mixed", bads)] {
        let began = Instant::now();
        for n in 0..goods {
            publish(&channel, &queue, &wire::encode_updates([&good(user, run, n)])).await;
            if bads > 0 && n % (goods / bads) == 0 {
                publish(&channel, &queue, b"no protobuf at all").await;
            }
        }
        let pattern = format!("{run}-%");
        eventually(Duration::from_secs(120), "every good update to be applied", async || {
            let count = "SELECT count(*) FROM actions WHERE version IS NOT NULL AND action_id LIKE $1";
            let found: i64 = operator.query_one(count, &[&pattern]).await.unwrap().get(0);
            if usize::try_from(found).unwrap() == goods { Ok(()) } else { Err(found) }
        })
        .await;
        took.push(began.elapsed());
    }
    eprintln!("{test}: {goods} good in {:?}; with {bads} damaged among them {:?}", took[0], took[1]);
    assert!(took[1] < took[0] * 10 + Duration::from_secs(1), "the order of magnitude is the same: {took:?}");
    eventually(Duration::from_secs(30), "every damaged message to be set aside", async || {
        let (exit, told) = deployment.operate(&["dead-letters", "list", "--limit", "10000", "--json"]);
        assert_eq!(exit, Some(0), "{told}");
        let told: serde_json::Value = serde_json::from_str(&told).unwrap();
        let dead = told["deadLetters"].as_array().unwrap();
        assert!(dead.iter().all(|letter| letter["reason"].is_string() && letter["firstFailedAt"].is_string()));
        if dead.len() == bads { Ok(()) } else { Err(dead.len()) }
    })
    .await;
    let (exit, told) = deployment.operate(&["dead-letters", "drop", "--all"]);
    assert_eq!(exit, Some(0), "{told}");
    let (exit, told) = deployment.operate(&["dead-letters", "list", "--json"]);
    assert_eq!((exit, told.trim()), (Some(0), r#"{"deadLetters":[]}"#), "copies are dropped as well");
    let (exit, told) = deployment.operate(&["verify"]);
    assert_eq!(exit, Some(0), "{told}");
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_damaged_among_a_thousand() {
    damaged_among_good("damaged-short", 1_000, 50).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: scripts/test-faults"]
async fn five_hundred_damaged_among_ten_thousand() {
    damaged_among_good("damaged", 10_000, 500).await;
}
