//! Logs as JSON, one object a line: timestamp, level, message, service, trace_id, then the event's own fields and
//! those of the spans around it (request_id, board, …), the innermost winning.

use std::fmt;
use std::io::Write as _;

use common::clock::Clock as _;
use opentelemetry::trace::TraceContextExt as _;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::clock::SystemClock;

/// The layer that writes JSON to standard error.
pub(crate) struct JsonLog {
    service: &'static str,
}

impl JsonLog {
    pub(crate) const fn new(service: &'static str) -> Self {
        Self { service }
    }
}

/// A span's fields, kept until its events are written: most spans have none, so nothing is made up for a line here.
struct SpanFields(Vec<(&'static str, Value)>);

impl Taking for SpanFields {
    fn take(&mut self, name: &'static str, value: Value) {
        // What only exporters read.
        if name.starts_with("otel.") {
            return;
        }
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, held)) => *held = value,
            None => self.0.push((name, value)),
        }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for JsonLog {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = SpanFields(Vec::with_capacity(attributes.fields().len()));
        attributes.record(&mut Fields(&mut fields));
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<SpanFields>() {
            values.record(&mut Fields(fields));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut line = Map::new();
        line.insert("timestamp".into(), SystemClock.now().to_string().into());
        line.insert("level".into(), event.metadata().level().as_str().into());
        // Keeps its place in the line; the event fills it in.
        line.insert("message".into(), Value::Null);
        line.insert("service".into(), self.service.into());
        line.insert("target".into(), event.metadata().target().into());
        let trace = opentelemetry::Context::current();
        let trace = trace.span().span_context().clone();
        if trace.is_valid() {
            line.insert("trace_id".into(), trace.trace_id().to_string().into());
        }
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(SpanFields(fields)) = span.extensions().get::<SpanFields>() {
                line.extend(fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
            }
        }
        event.record(&mut Fields(&mut line));
        if let Ok(mut text) = serde_json::to_vec(&line) {
            text.push(b'\n');
            // Nobody is left to tell when standard error is closed.
            let _ = std::io::stderr().lock().write_all(&text);
        }
    }
}

/// What fields are gathered in.
trait Taking {
    fn take(&mut self, name: &'static str, value: Value);
}

impl Taking for Map<String, Value> {
    fn take(&mut self, name: &'static str, value: Value) {
        self.insert(name.to_owned(), value);
    }
}

struct Fields<'a, T>(&'a mut T);

impl<T: Taking> Visit for Fields<'_, T> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.take(field.name(), format!("{value:?}").into());
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.take(field.name(), value.into());
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.take(field.name(), value.into());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.take(field.name(), value.into());
    }
    fn record_u128(&mut self, field: &Field, value: u128) {
        // Durations in whole milliseconds come as these.
        self.0.take(field.name(), u64::try_from(value).map_or(Value::Null, Value::from));
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.take(field.name(), value.into());
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.take(field.name(), value.into());
    }
}
