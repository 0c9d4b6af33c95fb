//! `scoreboard key issuer …`: the keys with which game servers sign.

use std::sync::Arc;

use clap::Subcommand;
use common::clock::Clock as _;
use common::ports::ListedIssuerKey;
use runtime::clock::SystemClock;
use runtime::exit::{Exit, Failure};
use runtime::new_issuer_key::{new_issuer_key, shown_secret};
use runtime::settings::{Settings, Sources};
use serde_json::json;

use crate::operator::{Operator, failed};
use crate::output::Output;

#[derive(Debug, Subcommand)]
pub(crate) enum IssuerKeyCommand {
    /// Makes a key for a game server; its secret is shown now and never again
    Create {
        /// What to call it in lists, 1 to 64 characters
        name: String,
    },
    /// Every key without its secret, revoked ones too
    List,
    /// Takes a key out of use for good; running servers refuse it within seconds
    Revoke {
        /// The key
        key_id: String,
    },
}

pub(crate) async fn run(sources: &Sources, command: IssuerKeyCommand, output: Output) -> Result<Exit, Failure> {
    let settings = Settings::load(sources)?;
    match command {
        IssuerKeyCommand::Create { name } => create(&settings, name, output).await,
        IssuerKeyCommand::List => list(&settings, output).await,
        IssuerKeyCommand::Revoke { key_id } => revoke(&settings, &key_id, output).await,
    }
}

async fn create(settings: &Settings, name: String, output: Output) -> Result<Exit, Failure> {
    let new = new_issuer_key(&name, SystemClock.now()).map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
    let operator = Operator::open(settings, Arc::new(SystemClock)).await?;
    let (key_id, shown) = (new.key.key_id.clone(), shown_secret(&new.key));
    operator.issuer_keys.create_issuer_key(new).await.map_err(|error| failed(&error))?;
    output.print(&json!({"keyId": key_id, "name": name, "secret": shown.as_str()}), || {
        format!("keyId  {key_id}\nsecret {} (base64url, shown only now)", shown.as_str())
    });
    Ok(Exit::Success)
}

async fn list(settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let operator = Operator::open(settings, Arc::new(SystemClock)).await?;
    let keys = operator.issuer_keys.list_issuer_keys().await.map_err(|error| failed(&error))?;
    let answer: Vec<_> = keys
        .iter()
        .map(|key| {
            json!({
                "keyId": key.key_id,
                "name": key.name,
                "createdAt": key.created_at.to_string(),
                "revokedAt": key.revoked_at.map(|at| at.to_string()),
            })
        })
        .collect();
    output.print(&json!({ "issuerKeys": answer }), || {
        if keys.is_empty() { "no issuer keys".to_owned() } else { keys.iter().map(line).collect::<Vec<_>>().join("\n") }
    });
    Ok(Exit::Success)
}

fn line(key: &ListedIssuerKey) -> String {
    let ListedIssuerKey { key_id, name, created_at, revoked_at } = key;
    let end = revoked_at.map(|at| format!(", revoked {at}")).unwrap_or_default();
    format!("{key_id} {name}: made {created_at}{end}")
}

async fn revoke(settings: &Settings, key_id: &str, output: Output) -> Result<Exit, Failure> {
    let operator = Operator::open(settings, Arc::new(SystemClock)).await?;
    let now = SystemClock.now();
    if !operator.issuer_keys.revoke_issuer_key(key_id, now).await.map_err(|error| failed(&error))? {
        return Err(Failure::new(Exit::Refused, format!("no issuer key {key_id} is in use")));
    }
    output.print(&json!({"keyId": key_id, "revokedAt": now.to_string()}), || format!("{key_id} was revoked"));
    Ok(Exit::Success)
}
