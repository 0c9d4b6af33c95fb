//! A hundred repeats of one keyed update, at once and one after the other, before and after everything was killed.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::client::Player;
use crate::deployment::Deployment;

const REPEATS: usize = 100;

/// Status, whether it is a replay, and the body byte for byte.
type Heard = (u16, bool, Vec<u8>);

async fn send(http: reqwest::Client, url: String, player: Player) -> Heard {
    let request = http.post(format!("{url}/api/v1/score/update")).json(&player.signed("once", 5));
    let request = request.header("authorization", player.bearer()).header("idempotency-key", "k");
    let answer = request.send().await.expect("an answer");
    let replayed = answer.headers().contains_key("idempotent-replayed");
    (answer.status().as_u16(), replayed, answer.bytes().await.expect("a body").to_vec())
}

async fn at_once(deployment: &Deployment, player: &Player) -> Vec<Heard> {
    let (http, mut repeats) = (reqwest::Client::new(), JoinSet::new());
    for _ in 0..REPEATS {
        repeats.spawn(send(http.clone(), deployment.api.url.clone(), player.clone()));
    }
    repeats.join_all().await
}

async fn one_by_one(deployment: &Deployment, player: &Player) -> Vec<Heard> {
    let (http, mut heard) = (reqwest::Client::new(), Vec::new());
    for _ in 0..REPEATS {
        heard.push(send(http.clone(), deployment.api.url.clone(), player.clone()).await);
    }
    heard
}

/// The one body of all answers; those that came while the first was in flight may have been told so.
fn one_body(heard: Vec<Heard>) -> Vec<u8> {
    let mut bodies = BTreeSet::new();
    for (status, _, body) in heard {
        match status {
            200 => drop(bodies.insert(body)),
            409 => {
                let refusal: Value = serde_json::from_slice(&body).expect("JSON");
                assert_eq!(refusal["error"]["code"], "request_in_progress");
            }
            other => panic!("{other}: {}", String::from_utf8_lossy(&body)),
        }
    }
    assert_eq!(bodies.len(), 1, "{:?}", bodies.iter().map(|body| String::from_utf8_lossy(body)).collect::<Vec<_>>());
    bodies.pop_first().expect("one of them was answered")
}

fn one_row(deployment: &Deployment) {
    let (exit, text) = deployment.operate(&["audit", "--user", "again", "--json"]);
    assert_eq!(exit, Some(0), "{text}");
    let story: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(story["actions"].as_array().map(Vec::len), Some(1), "{story}");
    assert_eq!((&story["actions"][0]["outcome"], &story["actions"][0]["newScore"]), (&json!("applied"), &json!(5)));
}

async fn repeated_and_killed(mut deployment: Deployment) {
    let player = deployment.api.join("again").await;
    let first = one_body(at_once(&deployment, &player).await);
    let serial = one_by_one(&deployment, &player).await;
    assert!(serial.iter().all(|(status, replayed, _)| (*status, *replayed) == (200, true)), "all are replays");
    assert_eq!(one_body(serial), first);
    one_row(&deployment);

    deployment.process().kill().await;
    deployment.start_again().await;
    // Nobody else is on the board, so that the rank, which a lost memory works out anew, is the same too.
    assert_eq!(one_body(at_once(&deployment, &player).await), first);
    assert_eq!(one_body(one_by_one(&deployment, &player).await), first);
    one_row(&deployment);
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_repeats_are_one_row_and_one_body_embedded() {
    repeated_and_killed(Deployment::embedded().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_repeats_are_one_row_and_one_body_on_servers() {
    repeated_and_killed(Deployment::distributed().await).await;
}
