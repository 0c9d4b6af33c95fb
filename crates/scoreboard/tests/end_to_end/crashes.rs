//! A process that is killed in any window between the first check and the answer, alone or while the other services
//! live: the repeat of the same request with the same key ends well, and counts once. The windows are named in
//! `docs/IDEMPOTENCY.md`.

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

    repeated(&deployment, &player, point, 1).await;
    deployment.stop().await;
}

/// The repeat ends well; the player's only action counted once and made this version.
async fn repeated(deployment: &Deployment, player: &Player, point: &str, version: u64) {
    let first = eventually(HEALED, "the repeat to be answered", async || {
        let answer = send(deployment, player, &player.signed("only", 7)).await?;
        match answer.status {
            200 => Ok(answer.body),
            202 if deployment.place.is_some() => Err(answer.body.to_string()),
            409 if answer.code() == "request_in_progress" => Err(answer.body.to_string()),
            503 => Err(answer.body.to_string()),
            _ => panic!("{point}: {} {}", answer.status, answer.body),
        }
    })
    .await;
    assert_eq!((&first["newScore"], &first["version"]), (&json!(7), &json!(version)), "{point}");
    let again = send(deployment, player, &player.signed("only", 7)).await.expect("an answer").expect(200);
    assert_eq!((again.header("idempotent-replayed"), &again.body), ("true", &first), "{point}");
    let (exit, text) = deployment.operate(&["audit", "--user", &player.name, "--json"]);
    assert_eq!(exit, Some(0), "{text}");
    let story: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(story["actions"].as_array().map(Vec::len), Some(1), "{point}: one row in the ledger: {story}");
    assert_eq!((&story["actions"][0]["outcome"], deployment.version().await), (&json!("applied"), version), "{point}");
}

/// One service of four dies in each of its windows, one after the other; the other three live on.
async fn one_of_four(service: &str, windows: &[&str]) {
    let mut deployment = Deployment::four_processes().await;
    for (version, point) in (1..).zip(windows) {
        let player = deployment.api.join(&format!("unlucky-{point}")).await;
        deployment.named(service).stop().await;
        deployment.set(FAILPOINT, point);
        deployment.start_service_again(service);
        deployment.ready().await;
        let lost = send(&deployment, &player, &player.signed("only", 7)).await;
        match service {
            "gateway" => assert!(lost.is_err(), "{point}: the gateway should have died: {lost:?}"),
            // Taken, and not decided in time.
            _ => assert_eq!(lost.expect("the gateway lives").status, 202, "{point}"),
        }
        deployment.named(service).ended().await;
        deployment.forget(FAILPOINT);
        deployment.start_service_again(service);
        repeated(&deployment, &player, point, version).await;
        deployment.ready().await;
    }
    let (exit, told) = deployment.operate(&["verify"]);
    assert_eq!(exit, Some(0), "{told}");
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_of_four_services_is_killed_in_each_of_its_windows() {
    one_of_four("gateway", &["reserved", "answered", "kept"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_of_four_services_is_killed_in_each_of_its_windows() {
    one_of_four("score-worker", &["published", "committed"]).await;
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
