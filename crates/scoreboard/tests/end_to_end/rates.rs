//! Limits that all gateways share, that no header gets around, and that tell the truth about the wait.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::{Answer, Client};
use crate::deployment::Deployment;

/// One update every three seconds, after twenty at once.
const USER_LIMIT: (&str, &str) = ("SCOREBOARD__LIMITS__USER_UPDATES_PER_MINUTE", "20");
const ANONYMOUS_LIMIT: (&str, &str) = ("SCOREBOARD__LIMITS__ADDRESS_ANONYMOUS_PER_HOUR", "40");

async fn stranger(api: &Client, forwarded_for: &str) -> Answer {
    let body = json!({"refreshToken": "made up"});
    api.post("/api/v1/auth/refresh", &body, &[("x-forwarded-for", forwarded_for)]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn gateways_share_limits_that_headers_do_not_change_and_waits_are_honest() {
    let mut deployment = Deployment::four_processes_with(&[USER_LIMIT, ANONYMOUS_LIMIT]).await;
    let behind_a_proxy = ("SCOREBOARD__HTTP__TRUSTED_PROXIES", "127.0.0.0/8");
    let gateways = [deployment.api.clone(), deployment.another_gateway(&[]).await];
    let proxied = deployment.another_gateway(&[behind_a_proxy]).await;
    let player = gateways[0].join("hasty").await;

    for n in 0..20 {
        let answer = gateways[n % 2].score(&player, &format!("a-{n}"), 1).await.expect(200);
        let left = format!("\"user-updates\";r={}", 19 - n);
        assert!(answer.header("ratelimit").contains(&left), "shared: {}", answer.header("ratelimit"));
    }
    let refused = gateways[1].score(&player, "a-20", 1).await.expect(429);
    let told_at = Instant::now();
    assert_eq!((refused.code(), &refused.body["error"]["details"]["limit"]), ("rate_limited", &json!("user-updates")));
    assert!(refused.header("ratelimit-policy").contains("\"user-updates\";q=20;w=60"), "{:?}", refused.headers);
    let wait = Duration::from_secs(refused.header("retry-after").parse().expect("seconds"));
    assert!((Duration::from_secs(1)..=Duration::from_secs(3)).contains(&wait), "{wait:?}");
    if wait > Duration::from_secs(1) {
        tokio::time::sleep((wait - Duration::from_secs(1)).saturating_sub(told_at.elapsed())).await;
        let early = gateways[0].score(&player, "a-21", 1).await;
        // A machine that took its time has let the wait run out.
        assert!(early.status == 429 || told_at.elapsed() > wait - Duration::from_secs(1), "{}", early.body);
    }
    tokio::time::sleep(wait.saturating_sub(told_at.elapsed())).await;
    gateways[0].score(&player, "a-22", 1).await.expect(200);

    // Registering and logging in were two of the forty.
    for n in 2..40 {
        assert_eq!(stranger(&gateways[n % 2], &format!("203.0.113.{n}")).await.expect(401).code(), "unauthenticated");
    }
    for gateway in &gateways {
        let refused = stranger(gateway, "198.51.100.1").await.expect(429);
        assert_eq!(refused.body["error"]["details"]["limit"], json!("address-anonymous"));
        let wait: u64 = refused.header("retry-after").parse().expect("seconds");
        assert!((1..=90).contains(&wait), "one passes every ninety seconds, not after {wait}");
    }
    // Behind a trusted proxy the right-most untrusted hop counts, whatever stands before it.
    for n in 0..40 {
        stranger(&proxied, &format!("203.0.113.{n}, 192.0.2.7, 127.0.0.9")).await.expect(401);
    }
    stranger(&proxied, "203.0.113.99, 192.0.2.7").await.expect(429);
    stranger(&proxied, "192.0.2.7, 192.0.2.8").await.expect(401);
    deployment.stop().await;
}
