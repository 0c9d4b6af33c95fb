//! Pages of other origins: those that the operator lists, and no others.

use crate::deployment::Deployment;

const SHOP: &str = "https://shop.example";

#[tokio::test(flavor = "multi_thread")]
async fn a_listed_page_reads_answers_and_another_does_not() {
    let deployment = Deployment::embedded_with(&[("SCOREBOARD__HTTP__ALLOWED_ORIGINS", SHOP)]).await;
    for path in ["/api/v1/scoreboard/top", "/api/v1/boards/nowhere", "/api/v1/auth/sessions"] {
        let answer = deployment.api.get_with(path, ("origin", SHOP)).await;
        assert_eq!(answer.header("access-control-allow-origin"), SHOP, "{path}");
        assert!(answer.header("access-control-expose-headers").contains("x-request-id"), "{path}");
        for other in ["https://shop.example.evil", "null"] {
            let answer = deployment.api.get_with(path, ("origin", other)).await;
            assert_eq!(answer.header("access-control-allow-origin"), "", "{path} {other}");
        }
    }
    let asked = reqwest::Client::new()
        .request(reqwest::Method::OPTIONS, format!("{}/api/v1/score/update", deployment.api.url))
        .header("origin", SHOP)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization, content-type, idempotency-key")
        .send()
        .await
        .unwrap();
    assert_eq!(asked.status(), 204);
    assert_eq!(asked.headers()["access-control-allow-origin"], SHOP);
    deployment.stop().await;
}
