//! `scoreboard serve`.

use std::time::Duration;

use runtime::exit::{Exit, Failure};
use runtime::process::Process;

use crate::app::{Inside, ScoreboardApp};
use crate::command_line::ServeArgs;
use crate::demo;
use crate::greeting::Greeting;
use crate::output::Output;

/// How often the server's own answer is looked for before it is announced.
const PROBE_INTERVAL: Duration = Duration::from_millis(20);

pub(crate) async fn run(process: Process, args: ServeArgs, output: Output) -> Result<(), Failure> {
    let settings = &process.settings;
    let app = ScoreboardApp::build(settings, process.lifecycle.clone(), process.metrics())?;
    let addresses = app.addresses().map_err(|error| Failure::new(Exit::Bug, format!("no address: {error}")))?;
    let greeting = Greeting::new(&addresses, settings);
    let (inside, stop) = (app.inside(), process.lifecycle.stop_token());
    let demo = args.demo.then(|| demo::Demo::new(inside.clone(), settings));
    process.lifecycle.spawn("welcome", {
        let stop = stop.clone();
        async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = welcome(&greeting, &inside, output) => {
                    if let Some(demo) = demo {
                        demo.run(&stop).await;
                    }
                    stop.cancelled().await;
                }
            }
            Ok::<_, std::convert::Infallible>(())
        }
    });
    app.run_until_stopped().await
}

/// Waits until the server answers, then says where it is and what moves its boards.
async fn welcome(greeting: &Greeting, inside: &Inside, output: Output) {
    while !greeting.answers().await || !inside.views.are_all_read() {
        tokio::time::sleep(PROBE_INTERVAL).await;
    }
    output.print(&greeting.as_json(), || greeting.in_words());
    gateway::name_movable_boards(&inside.views).await;
}
