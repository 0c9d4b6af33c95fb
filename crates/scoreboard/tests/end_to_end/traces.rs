//! One trace from the request through the queue to the frame, as a collector receives it by OTLP.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use parking_lot::Mutex;
use testkit::waiting::eventually;
use tonic::{Request, Response, Status};

use crate::deployment::Deployment;
use crate::watcher::Watcher;

/// What a collector kept of a span.
#[derive(Clone, Debug)]
struct Seen {
    service: String,
    trace: String,
    links: Vec<String>,
}

#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Seen>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for resource in request.into_inner().resource_spans {
            let attributes = resource.resource.map(|resource| resource.attributes).unwrap_or_default();
            let name = attributes.into_iter().find(|attribute| attribute.key == "service.name");
            let service = match name.and_then(|attribute| attribute.value?.value) {
                Some(Value::StringValue(name)) => name,
                other => return Err(Status::invalid_argument(format!("service.name is {other:?}"))),
            };
            let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            self.0.lock().extend(spans.map(|span| Seen {
                service: service.clone(),
                trace: hex::encode(&span.trace_id),
                links: span.links.iter().map(|link| hex::encode(&link.trace_id)).collect(),
            }));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_goes_from_the_request_through_the_queue_to_the_frame() {
    let collector = Collector::default();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    listener.set_nonblocking(true).expect("a listener");
    let incoming =
        tonic::transport::server::TcpIncoming::from(tokio::net::TcpListener::from_std(listener).expect("one"));
    let service = TraceServiceServer::new(collector.clone());
    let receiving =
        tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));

    let settings = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("OTEL_BSP_SCHEDULE_DELAY", "200")];
    let deployment = Deployment::four_processes_with(&settings).await;
    let player = deployment.api.join("traced").await;
    let screen = Watcher::open(&deployment.stream_url).await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{trace}-00f067aa0ba902b7-01");
    let headers = [("authorization", player.bearer()), ("traceparent", parent)];
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    deployment.api.post("/api/v1/score/update", &player.signed("traced", 5), &headers).await.expect(200);
    screen.first(Duration::from_secs(1), "the frame", |frame| frame["event"] == "score:update").await;

    let through = ["gateway", "score-worker", "realtime-fanout"];
    eventually(Duration::from_secs(10), "the trace to have passed all three", async || {
        let seen = collector.0.lock();
        let of_it = seen.iter().filter(|span| span.trace == trace || span.links.iter().any(|link| link == trace));
        let services: BTreeSet<&str> = of_it.map(|span| span.service.as_str()).collect();
        if through.iter().all(|service| services.contains(service)) { Ok(()) } else { Err(format!("{services:?}")) }
    })
    .await;
    deployment.stop().await;
    receiving.abort();
}
