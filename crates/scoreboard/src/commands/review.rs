//! `scoreboard review …`: actions in quarantine, and what a person decides about them.

use std::sync::Arc;

use clap::{Args, Subcommand};
use common::clock::Clock as _;
use common::decision::{NotReviewed, Verdict};
use common::ids::SubmissionId;
use common::ports::ReviewOrder;
use runtime::clock::SystemClock;
use runtime::exit::{Exit, Failure};
use runtime::settings::{Settings, Sources};
use serde_json::json;
use uuid::Uuid;

use super::audit;
use crate::operator::{Operator, failed};
use crate::output::Output;

/// The longest name of a reviewer, in characters.
const MAX_NAME: usize = 64;

#[derive(Debug, Subcommand)]
pub(crate) enum ReviewCommand {
    /// The actions that wait for a review, oldest first
    List {
        /// The most that are shown
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// Applies an action with a new version; the daily cap counts, and running servers show it within seconds
    Accept(ReviewArgs),
    /// Turns an action down for ever: its receipt is rejected with the code forbidden
    Reject(ReviewArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ReviewArgs {
    /// The id that the list shows
    id: Uuid,
    /// Who decides, for the audit
    #[arg(long, env = "USER", default_value = "operator", hide_env_values = true)]
    by: String,
}

pub(crate) async fn run(sources: &Sources, command: ReviewCommand, output: Output) -> Result<Exit, Failure> {
    let settings = Settings::load(sources)?;
    match command {
        ReviewCommand::List { limit } => list(&settings, limit, output).await,
        ReviewCommand::Accept(args) => review(&settings, args, Verdict::Accept, output).await,
        ReviewCommand::Reject(args) => review(&settings, args, Verdict::Reject, output).await,
    }
}

async fn list(settings: &Settings, limit: u32, output: Output) -> Result<Exit, Failure> {
    let operator = Operator::open(settings, Arc::new(SystemClock)).await?;
    let held = operator.reviews.held(limit as usize).await.map_err(|error| failed(&error))?;
    let rows: Vec<_> = held.iter().map(audit::as_json).collect();
    output.print(&json!({ "held": rows }), || {
        if held.is_empty() { "nothing waits for a review".to_owned() } else { audit::in_lines(&held) }
    });
    Ok(Exit::Success)
}

async fn review(settings: &Settings, args: ReviewArgs, verdict: Verdict, output: Output) -> Result<Exit, Failure> {
    let ReviewArgs { id, by: reviewer } = args;
    if !(1..=MAX_NAME).contains(&reviewer.chars().count()) || reviewer.chars().any(char::is_control) {
        return Err(Failure::new(Exit::Usage, format!("--by: must be 1 to {MAX_NAME} characters on one line")));
    }
    let operator = Operator::open(settings, Arc::new(SystemClock)).await?;
    let (submission, now) = (SubmissionId(Uuid::now_v7()), SystemClock.now());
    let order = ReviewOrder { held: SubmissionId(id), verdict, reviewer, submission, now };
    let reviewed = match operator.reviews.review(&order).await.map_err(|error| failed(&error))? {
        Ok(reviewed) => reviewed,
        Err(why @ NotReviewed::NotHeld) => {
            return Err(Failure::new(Exit::Refused, format!("{why}: {id}; scoreboard review list shows what waits")));
        }
        Err(why) => return Err(Failure::new(Exit::Refused, why.to_string())),
    };
    let receipt = &reviewed.receipt;
    let answer = json!({
        "id": id.to_string(),
        "actionId": receipt.action_id.as_str(),
        "board": receipt.board.as_str(),
        "outcome": receipt.status.ledger_outcome(),
        "newScore": receipt.new_score,
        "version": receipt.version.map(|version| version.0),
    });
    output.print(&answer, || match (receipt.version, receipt.new_score) {
        (Some(version), Some(score)) => {
            format!("{} was applied on {} at version {version}: score {score}", receipt.action_id, receipt.board)
        }
        _ => format!("{} on {} was turned down", receipt.action_id, receipt.board),
    });
    Ok(Exit::Success)
}
