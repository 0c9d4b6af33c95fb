//! A process that is killed in any window between the first check and the answer: the repeat of the same request with
//! the same key ends well, and counts once. The windows are named in `docs/IDEMPOTENCY.md`.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::waiting::eventually;

use crate::client::{Answer, Player};
use crate::deployment::Deployment;

const FAILPOINT: &str = "SCOREBOARD_FAILPOINT";

/// A reservation without an outcome lives 5 s, and work that nobody acknowledged comes back.
const HEALED: Duration = Duration::from_secs(20);

async fn send(deployment: &Deployment, player: &Player, body: &Value) -> Result<Answer, String> {
    let headers = [("authorization", &*player.bearer()), ("idempotency-key", "once")];
    deployment.api.try_post("/api/v1/score/update", body, &headers).await
}

async fn killed_and_repeated(mut deployment: Deployment, point: &str) {
    let player = deployment.api.join("unlucky").await;
    let lost = send(&deployment, &player, &player.signed("only", 7)).await;
    assert!(lost.is_err(), "{point}: the process should have died: {lost:?}");
    deployment.process().ended().await;
    deployment.forget(FAILPOINT);
    deployment.start_again().await;

    let first = eventually(HEALED, "the repeat to be answered", async || {
        let answer = send(&deployment, &player, &player.signed("only", 7)).await?;
        match answer.status {
            200 => Ok(answer.body),
            409 if answer.code() == "request_in_progress" => Err(answer.body.to_string()),
            503 => Err(answer.body.to_string()),
            _ => panic!("{point}: {} {}", answer.status, answer.body),
        }
    })
    .await;
    assert_eq!((&first["newScore"], &first["version"]), (&json!(7), &json!(1)), "{point}");
    let again = send(&deployment, &player, &player.signed("only", 7)).await.expect("an answer").expect(200);
    assert_eq!((again.header("idempotent-replayed"), &again.body), ("true", &first), "{point}");
    let (exit, text) = deployment.operate(&["audit", "--user", "unlucky", "--json"]);
    assert_eq!(exit, Some(0), "{text}");
    let story: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(story["actions"].as_array().map(Vec::len), Some(1), "{point}: one row in the ledger: {story}");
    assert_eq!((&story["actions"][0]["outcome"], deployment.version().await), (&json!("applied"), 1), "{point}");
    deployment.stop().await;
}

async fn embedded(point: &str) {
    killed_and_repeated(Deployment::embedded_with(&[(FAILPOINT, point)]).await, point).await;
}

async fn distributed(point: &str) {
    killed_and_repeated(Deployment::distributed_with(&[(FAILPOINT, point)]).await, point).await;
}

/// A test for each window on each backend: when one fails, its name says which.
macro_rules! windows {
    ($($name:ident: $point:literal;)+) => {
        mod on_embedded { $(#[tokio::test(flavor = "multi_thread")] async fn $name() { super::embedded($point).await; })+ }
        mod on_servers { $(#[tokio::test(flavor = "multi_thread")] async fn $name() { super::distributed($point).await; })+ }
    };
}

windows! {
    killed_when_the_key_was_reserved: "reserved";
    killed_when_the_update_was_published: "published";
    killed_when_the_transaction_was_committed: "committed";
    killed_when_the_gateway_had_the_answer: "answered";
    killed_when_the_answer_was_kept: "kept";
}
