//! `scoreboard audit`: the ledger as the story of a user or of an action.

use std::sync::Arc;

use clap::Args;
use common::ids::{ActionId, BoardId, InvalidValue, UserId};
use common::ports::{AUDIT_LIMIT, AuditQuery, AuditRow};
use runtime::clock::SystemClock;
use runtime::exit::{Exit, Failure};
use runtime::settings::{Settings, Sources};
use serde_json::{Value, json};

use crate::operator::{Operator, failed};
use crate::output::Output;

#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    /// What this user did: a name or an id
    #[arg(long, required_unless_present = "action")]
    user: Option<String>,
    /// What became of this action; without --user it is looked for in the whole ledger, which is slow
    #[arg(long)]
    action: Option<String>,
    /// Only on this board
    #[arg(long)]
    board: Option<String>,
    /// The most rows; the newest are shown, oldest first
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=AUDIT_LIMIT as i64))]
    limit: u32,
}

pub(crate) async fn run(sources: &Sources, args: AuditArgs, output: Output) -> Result<Exit, Failure> {
    let board = args.board.as_deref().map(BoardId::parse).transpose().map_err(usage)?;
    let action = args.action.as_deref().map(ActionId::parse).transpose().map_err(usage)?;
    let operator = Operator::open(&Settings::load(sources)?, Arc::new(SystemClock)).await?;
    let user = match args.user.as_deref() {
        Some(user) => Some(user_named(&operator, user).await?),
        None => None,
    };
    let query = AuditQuery { user, action, board, limit: args.limit as usize };
    let story = operator.audit.story(&query).await.map_err(|error| failed(&error))?;
    let rows: Vec<_> = story.iter().map(as_json).collect();
    output.print(&json!({ "actions": rows }), || {
        if story.is_empty() { "nothing is recorded".to_owned() } else { in_lines(&story) }
    });
    Ok(Exit::Success)
}

/// A user by name, without case, or by id.
async fn user_named(operator: &Operator, user: &str) -> Result<UserId, Failure> {
    if let Some(account) = operator.accounts.find(user).await.map_err(|error| failed(&error))? {
        return Ok(account.user);
    }
    UserId::parse(user).ok_or_else(|| Failure::new(Exit::Refused, format!("there is no user {user}")))
}

fn usage(error: InvalidValue) -> Failure {
    Failure::new(Exit::Usage, error.to_string())
}

/// A row of the ledger, for programs.
pub(super) fn as_json(row: &AuditRow) -> Value {
    let AuditRow { update, receipt, reviewer } = row;
    json!({
        "id": update.submission.0.to_string(),
        "decidedAt": row.decided_at().to_string(),
        "acceptedAt": update.accepted_at.to_string(),
        "userId": update.user.to_string(),
        "board": update.board.as_str(),
        "actionId": update.action_id.as_str(),
        "actionType": update.action_type.as_str(),
        "points": update.points,
        "proof": update.proof.as_str(),
        "outcome": receipt.status.ledger_outcome(),
        "newScore": receipt.new_score,
        "version": receipt.version.map(|version| version.0),
        "idempotencyKey": update.idempotency_key.as_ref().map(AsRef::<str>::as_ref),
        "requestId": update.request_id,
        "addressHash": update.address_hash.map(|hash| hash.to_string()),
        "reviewer": reviewer,
    })
}

/// Rows of the ledger, for people: one a line.
pub(super) fn in_lines(rows: &[AuditRow]) -> String {
    rows.iter().map(in_words).collect::<Vec<_>>().join("\n")
}

fn in_words(row: &AuditRow) -> String {
    let AuditRow { update, receipt, reviewer } = row;
    let outcome = match (receipt.version, receipt.new_score) {
        (Some(version), Some(score)) => format!("applied at version {version}, score {score}"),
        _ => receipt.status.ledger_outcome().to_owned(),
    };
    let reviewed = reviewer.as_ref().map(|name| format!(", reviewed by {name}")).unwrap_or_default();
    let address = update.address_hash.map_or_else(|| "unknown".to_owned(), |hash| hash.to_string());
    format!(
        "{} {} on {} by {}: {} points of type {}, {} proof: {outcome}{reviewed} (id {}, request {}, address {address})",
        row.decided_at(),
        update.action_id,
        update.board,
        update.user,
        update.points,
        update.action_type,
        update.proof.as_str(),
        update.submission.0,
        update.request_id,
    )
}
