//! A bare actix route: as many bytes as the real answer has, and nothing else. In a process of its own.

use std::process::{Child, Command, Stdio};

use actix_web::{App, HttpResponse, HttpServer, web};
use clap::Args;

use super::frame_server::{end_with_standard_input, first_line};
use crate::failure::Failure;

/// What the server answers.
#[derive(Clone, Debug, Args)]
pub(crate) struct RouteArgs {
    /// Bytes of the body
    #[arg(long, default_value_t = 1_200)]
    pub(crate) bytes: usize,
    /// Threads
    #[arg(long, default_value_t = 2)]
    pub(crate) workers: usize,
}

/// The process, ended with its handle.
#[derive(Debug)]
pub(crate) struct RouteServer {
    child: Child,
    pub(crate) address: String,
}

impl RouteServer {
    pub(crate) fn start(args: &RouteArgs) -> Result<Self, Failure> {
        let program = std::env::current_exe().map_err(Failure::system("this program's own path"))?;
        let child = Command::new(program)
            .args(["serve-route", "--bytes", &args.bytes.to_string(), "--workers", &args.workers.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(Failure::system("the floor's server does not start"))?;
        let mut server = Self { child, address: String::new() };
        server.address =
            first_line(&mut server.child).ok_or_else(|| Failure::server("the floor's server", "it told no address"))?;
        Ok(server)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for RouteServer {
    fn drop(&mut self) {
        // An error only says that it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The process: until its standard input ends, as it does with whoever started it.
pub(crate) fn serve(args: &RouteArgs) -> Result<(), Failure> {
    let body = web::Bytes::from(vec![b'x'; args.bytes]);
    let workers = args.workers.max(1);
    actix_web::rt::System::new()
        .block_on(async move {
            let app = move || {
                let body = body.clone();
                let answer = move || {
                    let body = body.clone();
                    async move { HttpResponse::Ok().content_type("application/json").body(body) }
                };
                App::new().route("/", web::get().to(answer))
            };
            let server = HttpServer::new(app).workers(workers).disable_signals().bind("127.0.0.1:0")?;
            for address in server.addrs() {
                println!("http://{address}");
            }
            end_with_standard_input();
            server.run().await
        })
        .map_err(Failure::system("the floor's server"))
}
