//! What every gRPC listener does alike: health and reflection, bounds and the end of a connection, and letting callers
//! in by their service keys.

mod callers;
mod surface;

pub use callers::{CallerRing, RequireServiceKey};
pub use surface::{GrpcSurface, ReflectionError, ServeError, serve_grpc};
