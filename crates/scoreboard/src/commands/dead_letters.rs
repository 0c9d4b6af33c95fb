//! `scoreboard dead-letters …`: what was put aside for a person to look at.

use std::sync::Arc;

use clap::{Args, Subcommand};
use common::ports::{DeadContent, DeadLetter, DeadLetters, QueueError};
use distributed::servers::Servers;
use embedded::{SqliteDeadLetters, SqliteStore};
use runtime::clock::SystemClock;
use runtime::exit::{Exit, Failure, causes};
use runtime::settings::{Mode, Settings, Sources};
use serde_json::{Value, json};

use crate::backends::{must_answer, not_opened};
use crate::output::Output;

/// The name that the servers know these connections by.
const PROCESS: &str = "scoreboard-operator";

#[derive(Debug, Subcommand)]
pub(crate) enum DeadLettersCommand {
    /// The letters, oldest first
    List {
        /// The most that are listed
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// All that is known of one letter
    Show {
        /// The letter
        id: String,
    },
    /// Gives letters to the worker again, as new updates
    Retry(Chosen),
    /// Throws letters away for good
    Drop(Chosen),
}

#[derive(Debug, Args)]
pub(crate) struct Chosen {
    /// The letters
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    ids: Vec<String>,
    /// Every letter that is there now
    #[arg(long)]
    all: bool,
}

/// The most letters that `--all` works on at once.
const ALL: usize = 10_000;

/// The dead letters of the settings' backend, and what lets go of it.
struct Office {
    letters: Arc<dyn DeadLetters>,
    servers: Option<Servers>,
}

impl Office {
    async fn open(settings: &Settings) -> Result<Self, Failure> {
        let clock = Arc::new(SystemClock);
        match settings.mode()? {
            Mode::Embedded => {
                let store = Arc::new(SqliteStore::open(&settings.data.dir).map_err(not_opened)?);
                must_answer(&*store).await?;
                Ok(Self { letters: Arc::new(SqliteDeadLetters::new(store, clock)), servers: None })
            }
            Mode::Distributed => {
                let servers = Servers::named_by(settings, PROCESS, clock)?;
                must_answer(&*servers.broker()).await?;
                Ok(Self { letters: Arc::new(servers.rabbit.dead_letters()), servers: Some(servers) })
            }
        }
    }

    async fn close(self) {
        if let Some(servers) = self.servers {
            servers.close().await;
        }
    }
}

pub(crate) async fn run(sources: &Sources, command: DeadLettersCommand, output: Output) -> Result<Exit, Failure> {
    let settings = Settings::load(sources)?;
    let office = Office::open(&settings).await?;
    let letters = &*office.letters;
    let done = match command {
        DeadLettersCommand::List { limit } => list(letters, limit, output).await,
        DeadLettersCommand::Show { id } => show(letters, &id, output).await,
        DeadLettersCommand::Retry(chosen) => each(letters, chosen, Verb::Retry, output).await,
        DeadLettersCommand::Drop(chosen) => each(letters, chosen, Verb::Drop, output).await,
    };
    office.close().await;
    done
}

async fn list(letters: &dyn DeadLetters, limit: usize, output: Output) -> Result<Exit, Failure> {
    let found = letters.list(limit).await.map_err(|error| failed(&error))?;
    output.print(&json!({"deadLetters": found.iter().map(as_json).collect::<Vec<_>>()}), || {
        if found.is_empty() {
            return "no dead letters".to_owned();
        }
        found.iter().map(line).collect::<Vec<_>>().join("\n")
    });
    Ok(Exit::Success)
}

async fn show(letters: &dyn DeadLetters, id: &str, output: Output) -> Result<Exit, Failure> {
    let letter = letters.find(id).await.map_err(|error| failed(&error))?.ok_or_else(|| unknown(id))?;
    let told = as_json(&letter);
    output.print(&told, || serde_json::to_string_pretty(&told).unwrap_or_default());
    Ok(Exit::Success)
}

#[derive(Clone, Copy)]
enum Verb {
    Retry,
    Drop,
}

async fn each(letters: &dyn DeadLetters, chosen: Chosen, verb: Verb, output: Output) -> Result<Exit, Failure> {
    let ids = if chosen.all {
        let found = letters.list(ALL).await.map_err(|error| failed(&error))?;
        found.into_iter().map(|letter| letter.id).collect()
    } else {
        chosen.ids.clone()
    };
    let done = match verb {
        Verb::Retry => letters.retry(&ids).await,
        Verb::Drop => letters.discard(&ids).await,
    };
    let done = done.map_err(|error| failed(&error))?;
    // With `--all`, one that another operator took meanwhile is nobody's mistake.
    if let Some(missing) = ids.iter().find(|id| !chosen.all && !done.contains(id)) {
        return Err(unknown(missing));
    }
    let (key, words) = match verb {
        Verb::Retry => ("retried", "given to the worker again"),
        Verb::Drop => ("dropped", "thrown away"),
    };
    output.print(&json!({ key: done }), || format!("{} {words}", done.len()));
    Ok(Exit::Success)
}

fn unknown(id: &str) -> Failure {
    Failure::new(Exit::Refused, format!("there is no dead letter {id}; see `scoreboard dead-letters list`"))
}

fn failed(error: &QueueError) -> Failure {
    Failure::new(Exit::Unavailable, causes(error))
}

fn as_json(letter: &DeadLetter) -> Value {
    let mut told = json!({
        "id": letter.id,
        "reason": letter.reason,
        "firstFailedAt": letter.first_failed_at.map(|at| at.to_string()),
        "attempts": letter.attempts,
        "traceparent": letter.traceparent,
    });
    match &letter.content {
        DeadContent::Update(update) => {
            told["update"] = json!({
                "board": update.board.as_str(),
                "userId": update.user.to_string(),
                "actionId": update.action_id.as_str(),
                "actionType": update.action_type.as_str(),
                "points": update.points,
                "acceptedAt": update.accepted_at.to_string(),
                "requestId": update.request_id,
            });
        }
        DeadContent::Damaged { message_type, body } => {
            let hex = body.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
            told["damaged"] = json!({"messageType": message_type, "bytes": body.len(), "bodyHex": hex});
        }
    }
    told
}

fn line(letter: &DeadLetter) -> String {
    let DeadLetter { id, reason, attempts, content, .. } = letter;
    let since = letter.first_failed_at.map_or_else(|| "unknown time".to_owned(), |at| at.to_string());
    let what = match content {
        DeadContent::Update(update) => {
            format!("{} of {} on {}, {} points", update.action_id, update.user, update.board, update.points)
        }
        DeadContent::Damaged { body, .. } => format!("{} bytes that cannot be read", body.len()),
    };
    format!("{id}  {since}  tried {attempts}x  {what}: {reason}")
}
