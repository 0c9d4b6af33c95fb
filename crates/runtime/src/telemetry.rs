//! Logs, traces and metrics of a process.
//!
//! Traces leave by OTLP when `OTEL_EXPORTER_OTLP_ENDPOINT` is set; the W3C context is passed on in any case.
//! Metrics are OpenTelemetry instruments of the meter `scoreboard`, read by Prometheus from the admin listener.

use std::io::IsTerminal as _;

use common::score_update::TraceContext;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator as _};
use opentelemetry::trace::{TraceContextExt as _, TracerProvider as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{Aggregation, Instrument, SdkMeterProvider, Stream};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use prometheus::{Encoder as _, TextEncoder};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use crate::exit::{Exit, Failure};
use crate::log_format::JsonLog;
use crate::settings::{Log, LogFormat, Service};

/// Bounds of every histogram in seconds: 0.5 ms to 10 s, about three to a decade, with the contract's own
/// deadlines (50 ms, 250 ms, 1 s, 2 s) among them.
const SECONDS_BUCKETS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0];

/// Bounds of every other histogram (batch sizes): powers of two.
const COUNT_BUCKETS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];

/// Below `info` drivers write what they carry, password hashes among it, so they stay at `info` whatever the filter says;
/// lapin logs each lost connection as an error, which our supervisor logs once and by its own words; and actix every
/// request that is none, with which a stranger could fill the log, while `http_edge` answers and counts it.
const SECRETIVE: &[&str] =
    &["tokio_postgres=info", "h2=info", "hyper=info", "lapin=off", "redis=info", "actix_http::h1::dispatcher=off"];

/// The process's metrics, as Prometheus reads them. The default has none, for processes without telemetry.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    registry: prometheus::Registry,
}

impl Metrics {
    /// The text exposition format, version 0.0.4.
    ///
    /// # Errors
    /// When a metric cannot be written.
    pub fn exposition(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

/// Keeps telemetry going; [`Self::shut_down`] sends what is left.
#[derive(Debug)]
pub struct Telemetry {
    traces: SdkTracerProvider,
    metrics: Metrics,
}

impl Telemetry {
    /// Sets up the process's logs, traces and metrics. Once per process.
    ///
    /// # Errors
    /// A wrong `log.filter`, or an exporter that cannot be built.
    pub fn start(service: Service, log: &Log) -> Result<Self, Failure> {
        let resource = Resource::builder().with_service_name(service.as_str()).build();
        let metrics = start_metrics(resource.clone())?;
        let traces = start_traces(resource)?;
        opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());

        let filter = EnvFilter::try_new(&log.filter)
            .map_err(|e| Failure::new(Exit::Config, format!("SCOREBOARD__LOG__FILTER: {e}")))?;
        let filter = SECRETIVE.iter().fold(filter, |filter, directive| match directive.parse() {
            Ok(directive) => filter.add_directive(directive),
            Err(_) => filter,
        });
        let pretty = match log.format {
            LogFormat::Auto => std::io::stderr().is_terminal(),
            LogFormat::Json => false,
            LogFormat::Pretty => true,
        };
        let output = if pretty {
            tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false).boxed()
        } else {
            JsonLog::new(service.as_str()).boxed()
        };
        // Clocks and threads of every entry would cost more than what they tell.
        let spans = tracing_opentelemetry::layer()
            .with_tracer(traces.tracer("scoreboard"))
            .with_tracked_inactivity(false)
            .with_location(false)
            .with_threads(false);
        tracing_subscriber::registry()
            .with(filter)
            .with(spans)
            .with(output)
            .try_init()
            .map_err(|e| Failure::new(Exit::Bug, format!("logs are set up already: {e}")))?;
        Ok(Self { traces, metrics })
    }

    /// For the admin listener.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.metrics.clone()
    }

    /// Sends what is left. Blocks for at most the exporter's own timeout.
    pub fn shut_down(self) {
        if let Err(error) = self.traces.shutdown() {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}

fn start_metrics(resource: Resource) -> Result<Metrics, Failure> {
    let registry = prometheus::Registry::new();
    let exporter = opentelemetry_prometheus::exporter()
        .with_registry(registry.clone())
        .scope_info_enabled(false)
        .without_target_info()
        // Names carry their unit already: `_seconds`.
        .without_units()
        .build()
        .map_err(|e| Failure::new(Exit::Bug, format!("metrics cannot be exported: {e}")))?;
    let provider = SdkMeterProvider::builder().with_resource(resource).with_reader(exporter).with_view(buckets).build();
    opentelemetry::global::set_meter_provider(provider);
    Ok(Metrics { registry })
}

fn buckets(instrument: &Instrument) -> Option<Stream> {
    if instrument.kind() != opentelemetry_sdk::metrics::InstrumentKind::Histogram {
        return None;
    }
    let boundaries = if instrument.name().ends_with("_seconds") { SECONDS_BUCKETS } else { COUNT_BUCKETS };
    Stream::builder()
        .with_aggregation(Aggregation::ExplicitBucketHistogram {
            boundaries: boundaries.to_vec(),
            record_min_max: false,
        })
        .build()
        .ok()
}

fn start_traces(resource: Resource) -> Result<SdkTracerProvider, Failure> {
    let mut provider = SdkTracerProvider::builder().with_resource(resource);
    if std::env::var_os("OTEL_EXPORTER_OTLP_ENDPOINT").is_some_and(|endpoint| !endpoint.is_empty()) {
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_tonic()
            .build()
            .map_err(|e| Failure::new(Exit::Config, format!("OTEL_EXPORTER_OTLP_ENDPOINT: {e}")))?;
        provider = provider.with_batch_exporter(exporter);
    } else {
        // Ids are still made and passed on, for the logs; nothing is recorded.
        provider = provider.with_sampler(Sampler::AlwaysOff);
    }
    Ok(provider.build())
}

struct Headers<'a>(&'a mut TraceContext);

impl Injector for Headers<'_> {
    fn set(&mut self, key: &str, value: String) {
        match key {
            "traceparent" => self.0.traceparent = value,
            "tracestate" => self.0.tracestate = value,
            _ => {}
        }
    }
}

struct ReadHeaders<'a>(&'a TraceContext);

impl Extractor for ReadHeaders<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            "traceparent" => Some(&self.0.traceparent),
            "tracestate" => Some(&self.0.tracestate),
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent", "tracestate"]
    }
}

/// The context of the current span, to travel with a message.
#[must_use]
pub fn current_trace_context() -> TraceContext {
    let mut context = TraceContext::default();
    TraceContextPropagator::new().inject_context(&Span::current().context(), &mut Headers(&mut context));
    context
}

/// Makes `span` a child of what travelled with a message or a request.
pub fn set_parent(span: &Span, context: &TraceContext) {
    if !context.traceparent.is_empty() {
        // Fails only for a disabled span, which has no parent to lose.
        let _ = span.set_parent(TraceContextPropagator::new().extract(&ReadHeaders(context)));
    }
}

/// Links `span` to what travelled with one message of a batch.
pub fn link_to(span: &Span, context: &TraceContext) {
    if !context.traceparent.is_empty() {
        let remote = TraceContextPropagator::new().extract(&ReadHeaders(context));
        span.add_link(remote.span().span_context().clone());
    }
}
