//! The admin listener: `/livez`, `/readyz`, `/healthz`, `/metrics`. For operators and orchestrators, not for players.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use common::ports::Dependency;
use tokio_util::sync::CancellationToken;

use crate::telemetry::Metrics;

/// A dependency that does not answer within this is not there.
const CHECK_LIMIT: Duration = Duration::from_secs(1);

/// What `/readyz` asks.
#[derive(Clone)]
pub struct Readiness {
    dependencies: Vec<Arc<dyn Dependency>>,
    stop: CancellationToken,
}

impl Readiness {
    /// Ready while every dependency is, until `stop`.
    #[must_use]
    pub fn new(dependencies: Vec<Arc<dyn Dependency>>, stop: CancellationToken) -> Self {
        Self { dependencies, stop }
    }

    /// Each dependency's state: `ok`, or what is wrong.
    pub async fn check(&self) -> Vec<(&'static str, Result<(), String>)> {
        let mut checks = tokio::task::JoinSet::new();
        for (index, dependency) in self.dependencies.iter().cloned().enumerate() {
            checks.spawn(async move {
                let result = tokio::time::timeout(CHECK_LIMIT, dependency.check())
                    .await
                    .unwrap_or_else(|_| Err(format!("no answer within {} ms", CHECK_LIMIT.as_millis())));
                (index, dependency.name(), result)
            });
        }
        let mut results: Vec<_> = checks.join_all().await;
        results.sort_by_key(|(index, ..)| *index);
        let draining = if self.stop.is_cancelled() { Err("draining".to_owned()) } else { Ok(()) };
        results.into_iter().map(|(_, name, result)| (name, result)).chain([("lifecycle", draining)]).collect()
    }
}

/// Serves until `stop`, and a little longer: `/readyz` must say 503 while the rest drains.
///
/// # Errors
/// When the listener cannot be served.
pub async fn serve(
    listener: TcpListener,
    readiness: Readiness,
    metrics: Metrics,
    closed: CancellationToken,
) -> std::io::Result<()> {
    let server = HttpServer::new(move || {
        App::new()
            .app_data(web::Data::new(readiness.clone()))
            .app_data(web::Data::new(metrics.clone()))
            .route("/livez", web::get().to(|| async { HttpResponse::Ok().json(serde_json::json!({"status": "ok"})) }))
            .route("/readyz", web::get().to(readyz))
            .route("/healthz", web::get().to(readyz))
            .route("/metrics", web::get().to(exposition))
    })
    .workers(1)
    .disable_signals()
    .shutdown_timeout(1)
    .listen(listener)?
    .run();
    let handle = server.handle();
    let stopper = async move {
        closed.cancelled().await;
        handle.stop(false).await;
    };
    tokio::join!(server, stopper).0
}

/// `?exclude=redis` (repeatable, as the Kubernetes API server has it) shows a check without counting it: for a probe that
/// must not take a node out of service because something is away that the node can do without for a while.
async fn readyz(request: HttpRequest, readiness: web::Data<Readiness>) -> HttpResponse {
    let results = readiness.check().await;
    let excluded: Vec<&str> =
        request.query_string().split('&').filter_map(|pair| pair.strip_prefix("exclude=")).collect();
    let ready = results.iter().all(|(name, result)| result.is_ok() || excluded.contains(name));
    let checks: serde_json::Map<_, _> = results
        .into_iter()
        .map(|(name, result)| (name.to_owned(), result.err().unwrap_or_else(|| "ok".to_owned()).into()))
        .collect();
    let body = serde_json::json!({"status": if ready { "ready" } else { "not ready" }, "checks": checks});
    if ready { HttpResponse::Ok().json(body) } else { HttpResponse::ServiceUnavailable().json(body) }
}

async fn exposition(metrics: web::Data<Metrics>) -> HttpResponse {
    match metrics.exposition() {
        Ok(text) => HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(text),
        Err(error) => {
            tracing::error!(%error, "metrics cannot be written");
            HttpResponse::InternalServerError().finish()
        }
    }
}
