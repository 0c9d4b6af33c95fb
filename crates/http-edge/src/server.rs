//! The server of a public listener: actix's, with every connection guarded (`guarded_stream`).

use std::convert::Infallible;
use std::fmt::Debug;
use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::time::Duration;

use actix_codec::Framed;
use actix_http::body::BoxBody;
use actix_http::h1::Codec;
use actix_http::{HttpService, Request, Response};
use actix_server::{Server, ServerBuilder};
use actix_service::boxed::{BoxService, BoxServiceFactory};
use actix_service::{
    IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt as _, boxed, fn_factory, fn_service, map_config,
};
use actix_web::body::MessageBody;
use actix_web::dev::AppConfig;
use tokio::net::TcpStream;
use tokio::sync::OnceCell;

pub use crate::guarded_stream::ArrivalLimits;
use crate::guarded_stream::GuardedStream;
use crate::shared_stream::SharedStream;
use crate::upgraded;

/// For how long a connection waits for its next request. Longer than a head may take: whoever has begun one is told what
/// it waited for.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// How a listener is served.
#[derive(Clone, Copy, Debug)]
pub struct ServerOptions {
    /// How long requests in hand may take after the stop. Seconds.
    pub drain_s: u64,
    /// Bytes that a connection collects before it writes.
    pub write_buffer: usize,
    /// How long requests may take to arrive.
    pub arrival: ArrivalLimits,
    /// Whether somebody who closed its sending side gets the answer however long it takes, not only within 5 s. Not where
    /// streams are served: one that says nothing would keep its place after its reader has left.
    pub half_closed: bool,
    /// Whether requests that ask for a WebSocket (RFC 6455) are carried on without buffers.
    pub upgrades: bool,
}

/// Serves an application on a bound listener; signals are the caller's business.
///
/// # Errors
/// When the listener cannot be used.
pub fn serve<F, I, S, B>(listener: TcpListener, options: ServerOptions, application: F) -> io::Result<Server>
where
    F: Fn() -> I + Send + Clone + 'static,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::Error: Into<actix_web::Error> + 'static,
    S::InitError: Debug,
    S::Response: Into<Response<B>> + 'static,
    <S::Service as Service<Request>>::Future: 'static,
    S::Service: 'static,
    B: MessageBody + 'static,
{
    let address = listener.local_addr()?;
    let builder = ServerBuilder::default();
    let stopping = builder.graceful_shutdown_signal();
    let server = builder
        .disable_signals()
        .shutdown_timeout(options.drain_s)
        .listen(format!("http {address}"), listener, move || {
            let stopping = stopping.clone();
            let application = application().into_factory().map_err(|error| error.into().error_response());
            let service = HttpService::build()
                .graceful_shutdown_signal(move || {
                    let stopping = stopping.clone();
                    async move { stopping.notified().await }
                })
                .keep_alive(KEEP_ALIVE)
                // For who sends nothing at all; its clock goes by half seconds.
                .client_request_timeout(options.arrival.head + Duration::from_secs(1))
                .client_disconnect_timeout(Duration::from_secs(1))
                .h1_write_buffer_size(options.write_buffer)
                // The guard's business, which knows who has left from whose body was bad.
                .h1_allow_half_closed(true)
                .local_addr(address);
            // In a box, a future takes no room in its connection once it has answered.
            let application = OneApplication::new(boxed::factory(map_config(application, |()| AppConfig::default())));
            let upgrade = options.upgrades.then(|| answering_upgrades(application.clone()));
            let service = service.h1(application.factory()).upgrade(upgrade);
            fn_service(move |connection: TcpStream| async move {
                let peer = connection.peer_addr().ok();
                let connection = SharedStream::new(connection);
                Ok((GuardedStream::new(connection, options.arrival, options.half_closed), peer))
            })
            .and_then(service)
        })?
        .run();
    Ok(server)
}

/// A request for another protocol, and its connection.
type Upgrading = (Request, Framed<GuardedStream<SharedStream>, Codec>);

/// A thread's application, made once for all of its connections, whatever they ask for: what it keeps for the thread is
/// there once.
struct OneApplication<R, E, I> {
    make: Rc<BoxServiceFactory<(), Request, R, E, I>>,
    made: Rc<OnceCell<Rc<BoxService<Request, R, E>>>>,
}

impl<R, E, I> Clone for OneApplication<R, E, I> {
    fn clone(&self) -> Self {
        Self { make: Rc::clone(&self.make), made: Rc::clone(&self.made) }
    }
}

impl<R: 'static, E: 'static, I: 'static> OneApplication<R, E, I> {
    fn new(make: BoxServiceFactory<(), Request, R, E, I>) -> Self {
        Self { make: Rc::new(make), made: Rc::default() }
    }

    async fn get(self) -> Result<Rc<BoxService<Request, R, E>>, I> {
        self.made.get_or_try_init(|| async { self.make.new_service(()).await.map(Rc::new) }).await.cloned()
    }

    fn factory(self) -> impl ServiceFactory<Request, Config = (), Response = R, Error = E, InitError = I> {
        fn_factory(move || self.clone().get())
    }
}

/// Gives the connections that ask for another protocol to the application.
fn answering_upgrades<R, B, E, I>(
    application: OneApplication<R, E, I>,
) -> impl ServiceFactory<Upgrading, Config = (), Response = (), Error = Infallible, InitError = I>
where
    R: Into<Response<B>> + 'static,
    B: MessageBody + 'static,
    E: Into<Response<BoxBody>> + 'static,
    I: 'static,
{
    fn_factory(move || {
        let application = application.clone();
        async move {
            let application = application.get().await?;
            Ok(fn_service(move |(request, connection)| {
                let application = Rc::clone(&application);
                // It lives as long as its connection, whose other state is small.
                Box::pin(async move {
                    let answer = |request| async move {
                        application.call(request).await.map(|response| response.into().map_into_boxed_body())
                    };
                    upgraded::serve(request, connection, answer).await;
                    Ok::<_, Infallible>(())
                })
            }))
        }
    })
}
