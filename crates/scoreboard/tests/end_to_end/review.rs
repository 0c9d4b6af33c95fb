//! The quarantine from the first suspicion to the review's end, and the story that the audit tells of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use testkit::waiting::eventually;

use crate::client::{Answer, Player};
use crate::deployment::Deployment;
use crate::watcher::Watcher;

/// Few players make a board that is watched, so that the test need not make fifty.
const FEW: &[(&str, &str)] = &[("SCOREBOARD__WORKER__SUSPICION_MIN_PLAYERS", "5")];

/// Index, page and receipt follow a review by themselves.
const FOLLOWED: Duration = Duration::from_secs(5);

async fn keyed(deployment: &Deployment, player: &Player, body: &Value, key: Option<&str>) -> Answer {
    let bearer = player.bearer();
    let mut headers = vec![("authorization", bearer.as_str())];
    headers.extend(key.map(|key| ("idempotency-key", key)));
    deployment.api.post("/api/v1/score/update", body, &headers).await
}

/// Sends new actions until one is held, as a bot does; its id.
async fn until_held(deployment: &Deployment, bot: &Player, name: &str) -> String {
    let sent = AtomicU64::new(0);
    eventually(Duration::from_secs(10), "an action to be held", async || {
        let action = format!("{name}-{}", sent.fetch_add(1, Ordering::Relaxed));
        let answer = keyed(deployment, bot, &bot.signed(&action, 1000), Some(&action)).await;
        if answer.status == 200 {
            return Err("it was applied".to_owned());
        }
        let location = format!("/api/v1/score/updates/{action}?board=global");
        assert_eq!(answer.header("location"), location, "{}", answer.body);
        assert_eq!(answer.expect(202).body, json!({"actionId": action, "board": "global", "status": "pending"}));
        Ok(action)
    })
    .await
}

async fn score(deployment: &Deployment, player: &Player) -> i64 {
    let own = deployment.api.get(&format!("/api/v1/scoreboard/users/{}", player.id)).await.expect(200).body;
    own["score"].as_i64().expect("a score")
}

async fn receipt(deployment: &Deployment, player: &Player, action: &str) -> Value {
    deployment.api.get_as(player, &format!("/api/v1/score/updates/{action}?board=global")).await.expect(200).body
}

/// A command's JSON.
fn told(deployment: &Deployment, arguments: &[&str]) -> Value {
    let (exit, text) = deployment.operate(&[arguments, &["--json"]].concat());
    assert_eq!(exit, Some(0), "{arguments:?}: {text}");
    serde_json::from_str(&text).expect("JSON")
}

/// The id by which a held action is reviewed.
fn held_id(deployment: &Deployment, action: &str) -> Option<String> {
    let held = told(deployment, &["review", "list"]);
    let rows = held["held"].as_array().expect("a list").iter();
    rows.filter(|row| row["actionId"] == action).find_map(|row| Some(row["id"].as_str()?.to_owned()))
}

async fn accepted(deployment: &Deployment, bot: &Player, screen: &Watcher) -> String {
    let action = until_held(deployment, bot, "fast").await;
    let before = score(deployment, bot).await;
    assert_eq!(receipt(deployment, bot, &action).await["status"], "pending");
    // Action and key are used: whoever asks again hears the same, and nothing is added.
    for key in [Some(action.as_str()), Some("another-key"), None] {
        keyed(deployment, bot, &bot.signed(&action, 1000), key).await.expect(202);
    }
    let other = keyed(deployment, bot, &bot.signed("other", 1), Some(&action)).await.expect(422);
    assert_eq!(other.code(), "idempotency_key_reused");
    assert_eq!(score(deployment, bot).await, before, "what is held is not on the board");

    let id = held_id(deployment, &action).expect("it waits");
    let done = told(deployment, &["review", "accept", &id, "--by", "ada"]);
    assert_eq!((&done["outcome"], &done["newScore"]), (&json!("applied"), &json!(before + 1000)));
    let now = receipt(deployment, bot, &action).await;
    assert_eq!((&now["status"], &now["version"]), (&json!("applied"), &done["version"]));
    screen
        .first(FOLLOWED, "the accepted points", |frame| frame.to_string().contains(&(before + 1000).to_string()))
        .await;
    eventually(FOLLOWED, "the board to show them", async || {
        let shown = score(deployment, bot).await;
        if shown == before + 1000 { Ok(()) } else { Err(shown) }
    })
    .await;
    let again = keyed(deployment, bot, &bot.signed(&action, 1000), Some(&action)).await.expect(200);
    assert_eq!((again.header("idempotent-replayed"), &again.body["version"]), ("true", &done["version"]));
    let unkeyed = keyed(deployment, bot, &bot.signed(&action, 1000), None).await.expect(409);
    assert_eq!(unkeyed.code(), "duplicate_action");
    let (exit, text) = deployment.operate(&["review", "reject", &id]);
    assert_eq!(exit, Some(1), "a review decides once: {text}");
    action
}

async fn rejected(deployment: &Deployment, bot: &Player) -> String {
    let action = until_held(deployment, bot, "faster").await;
    let before = score(deployment, bot).await;
    let id = held_id(deployment, &action).expect("it waits");
    told(deployment, &["review", "reject", &id, "--by", "ada"]);
    let now = receipt(deployment, bot, &action).await;
    assert_eq!(
        (&now["status"], &now["code"], &now["version"]),
        (&json!("rejected"), &json!("forbidden"), &Value::Null)
    );
    for key in [Some(action.as_str()), None] {
        let again = keyed(deployment, bot, &bot.signed(&action, 1000), key).await.expect(403);
        assert_eq!(again.code(), "forbidden");
    }
    assert_eq!((score(deployment, bot).await, held_id(deployment, &action)), (before, None));
    action
}

/// Who, when, from where, by which request, and what became of it.
fn audited(deployment: &Deployment, bot: &Player, accepted: &str, rejected: &str) {
    let story = told(deployment, &["audit", "--user", &bot.name]);
    let rows = story["actions"].as_array().expect("a list");
    let of = |action: &str| -> Vec<(Value, Value)> {
        let rows = rows.iter().filter(|row| row["actionId"] == action);
        rows.map(|row| (row["outcome"].clone(), row["reviewer"].clone())).collect()
    };
    let (held, ada) = (json!("quarantined"), json!("ada"));
    assert_eq!(of(accepted)[..2], [(held.clone(), Value::Null), (json!("applied"), ada.clone())]);
    assert_eq!(of(accepted)[2..], [(json!("duplicate_action"), Value::Null)], "the refusal is recorded too");
    assert_eq!(of(rejected), [(held, Value::Null), (json!("forbidden"), ada)]);
    assert!(rows.is_sorted_by_key(|row| row["decidedAt"].as_str().map(str::to_owned)), "in the order of time");
    for row in rows {
        assert_eq!((&row["userId"], &row["proof"]), (&json!(bot.id), &json!("session")));
        assert!(row["requestId"].as_str().is_some_and(|id| !id.is_empty()), "{row}");
        assert_eq!(row["addressHash"], rows[0]["addressHash"], "one address, one hash");
        assert!(row["addressHash"].as_str().is_some_and(|hash| hash.len() == 32), "{row}");
    }
    assert!(!story.to_string().contains("127.0.0.1"), "never the address itself");
    let by_action = told(deployment, &["audit", "--action", rejected, "--board", "global"]);
    assert_eq!(by_action["actions"].as_array().map(Vec::len), Some(2));
    let limited = told(deployment, &["audit", "--user", &bot.id, "--limit", "1"]);
    assert_eq!(limited["actions"][0], rows[rows.len() - 1], "the newest one, found by the user's id");
    assert_eq!(deployment.operate(&["audit"]).0, Some(2), "somebody has to be named");
}

async fn held_reviewed_and_audited(deployment: Deployment) {
    let crowd: Vec<Player> = {
        let mut crowd = Vec::new();
        for n in 0..6 {
            crowd.push(deployment.api.join(&format!("ordinary-{n}")).await);
        }
        crowd
    };
    let bot = deployment.api.join("bot").await;
    let screen = Watcher::open(&deployment.stream_url).await;
    for player in &crowd {
        deployment.api.score(player, "honest", 10).await.expect(200);
    }
    deployment.api.score(&bot, "first", 10).await.expect(200);
    let taken = accepted(&deployment, &bot, &screen).await;
    let refused = rejected(&deployment, &bot).await;
    audited(&deployment, &bot, &taken, &refused);
    let figures: String = deployment.metrics().await.into_values().collect();
    assert!(figures.contains("scoreboard_updates_total{result=\"quarantined\"}"), "{figures}");
    if deployment.place.is_some() {
        assert_eq!(told(&deployment, &["verify"])["equal"], true);
    }
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_is_reviewed_and_the_audit_tells_the_story_embedded() {
    held_reviewed_and_audited(Deployment::embedded_with(FEW).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_is_reviewed_and_the_audit_tells_the_story_on_four_processes() {
    held_reviewed_and_audited(Deployment::four_processes_with(FEW).await).await;
}
