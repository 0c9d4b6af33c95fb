//! What is the same for every call: permission, rate, deadline, span, and how it is counted and answered.

use std::time::Instant;

use common::error_code::{ErrorCode, Refusal};
use common::ids::UserId;
use common::score_update::TraceContext;
use http_edge::security_event;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram};
use runtime::secrets::Permission;
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Response, Status};
use tracing::Instrument as _;
use uuid::Uuid;
use wire::status_from_refusal;

use super::GatewayGrpc;
use super::callers::Caller;
use crate::update_shape::UpdateShape;

/// As in HTTP.
const REQUEST_ID: &str = "x-request-id";

/// Who calls, and the id by which the call is found in logs and in the ledger.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) caller: Caller,
    pub(crate) request_id: String,
    started: Instant,
    method: &'static str,
}

/// The instruments of gRPC calls.
pub(crate) struct CallMetrics {
    duration: Histogram<f64>,
    refusals: Counter<u64>,
}

impl CallMetrics {
    pub(crate) fn new() -> Self {
        let meter = opentelemetry::global::meter("scoreboard");
        Self {
            duration: meter
                .f64_histogram("scoreboard_grpc_call_duration_seconds")
                .with_description("From the request to the answer or a stream's first event, by method and status")
                .build(),
            // The same that HTTP counts.
            refusals: meter
                .u64_counter("scoreboard_errors")
                .with_description("Refused or failed requests, by code")
                .build(),
        }
    }

    pub(crate) fn refused(&self, code: ErrorCode) {
        self.refusals.add(1, &[KeyValue::new("code", code.as_str())]);
    }
}

impl GatewayGrpc {
    /// Lets the caller in: it may do this, and not `cost` times too often.
    pub(super) fn admit<Q>(
        &self,
        method: &'static str,
        permission: Permission,
        cost: usize,
        request: Request<Q>,
    ) -> Result<(Call, tracing::Span, Q), Status> {
        let (metadata, extensions, message) = request.into_parts();
        let request_id = request_id(&metadata);
        let Some(caller) = extensions.get::<Caller>().cloned() else {
            return Err(status_from_refusal(&Refusal::internal()));
        };
        let span = tracing::info_span!(
            "gRPC call",
            otel.name = method,
            otel.kind = "server",
            rpc.method = method,
            caller = &*caller.name,
            request_id,
        );
        runtime::telemetry::set_parent(&span, &caller_context(&metadata));
        let call = Call { caller, request_id, started: Instant::now(), method };
        let admitted = call.caller.require(permission).and_then(|()| self.count(&call.caller, cost));
        if let Err(refusal) = admitted {
            span.in_scope(|| log_refusal(&call, None, &refusal));
            return Err(self.refused(&call, &refusal));
        }
        Ok((call, span, message))
    }

    fn count(&self, caller: &Caller, cost: usize) -> Result<(), Refusal> {
        let (quota, now) = (self.0.gateway.settings.limits.caller_calls, self.0.gateway.ports.clock.now());
        for _ in 0..cost.max(1) {
            match self.0.calls.take(quota, &caller.name, now) {
                Some(allowance) if !allowance.allowed => return Err(Refusal::rate_limited(allowance)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Does the work of a call that was let in, within the deadline.
    pub(super) async fn answer<M>(
        &self,
        call: &Call,
        span: tracing::Span,
        work: impl Future<Output = Result<M, Refusal>>,
    ) -> Result<Response<M>, Status> {
        let work = tokio::time::timeout(self.deadline(), work.instrument(span));
        let done = work.await.unwrap_or_else(|_| Err(Refusal::unavailable()));
        match done {
            Ok(message) => {
                self.measure(call, Code::Ok);
                let mut response = Response::new(message);
                name_request(response.metadata_mut(), call);
                Ok(response)
            }
            Err(refusal) => Err(self.refused(call, &refusal)),
        }
    }

    fn refused(&self, call: &Call, refusal: &Refusal) -> Status {
        let mut status = status_from_refusal(refusal);
        name_request(status.metadata_mut(), call);
        self.0.metrics.refused(refusal.code);
        self.measure(call, status.code());
        status
    }

    fn measure(&self, call: &Call, code: Code) {
        let labels = [KeyValue::new("rpc_method", call.method), KeyValue::new("rpc_grpc_status_code", code as i64)];
        self.0.metrics.duration.record(call.started.elapsed().as_secs_f64(), &labels);
    }
}

/// Tells of a refusal, if it is a security event: one line, with everything that is known by then.
pub(super) fn log_refusal(call: &Call, update: Option<(UserId, &UpdateShape)>, refusal: &Refusal) {
    if !refusal.code.is_security_event() || !security_event::has_room() {
        return;
    }
    let (user, shape) = update.unzip();
    tracing::warn!(
        security_event = refusal.code.as_str(),
        error.code = refusal.code.as_str(),
        caller = &*call.caller.name,
        method = call.method,
        user_id = user.map(tracing::field::display),
        board = shape.map(|shape| shape.board.as_str()),
        action_id = shape.map(|shape| shape.action_id.as_str()),
        reason = %refusal.message,
        "a trusted caller was refused"
    );
}

fn name_request(metadata: &mut MetadataMap, call: &Call) {
    if let Ok(id) = call.request_id.parse() {
        metadata.insert(REQUEST_ID, id);
    }
}

/// The caller's when it is well-formed (1 to 64 of `A-Za-z0-9_.-`, as in HTTP), else ours.
fn request_id(metadata: &MetadataMap) -> String {
    let form = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    let given = metadata.get(REQUEST_ID).and_then(|id| id.to_str().ok());
    given
        .filter(|id| (1..=64).contains(&id.len()) && id.bytes().all(form))
        .map_or_else(|| Uuid::new_v4().simple().to_string(), str::to_owned)
}

fn caller_context(metadata: &MetadataMap) -> TraceContext {
    let text = |name: &str| metadata.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    TraceContext { traceparent: text("traceparent"), tracestate: text("tracestate") }
}
