//! `scoreboard key issuer …`: the keys with which game servers sign.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Subcommand;
use common::clock::Clock as _;
use common::ports::{IssuerKey, ListedIssuerKey, NewIssuerKey};
use common::signature::SigningKey;
use runtime::clock::SystemClock;
use runtime::exit::{Exit, Failure};
use runtime::settings::{Settings, Sources};
use serde_json::json;
use zeroize::Zeroizing;

use crate::operator::{Operator, failed};
use crate::output::Output;

/// The longest name, in characters: one line of a list.
const MAX_NAME: usize = 64;

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
    if !(1..=MAX_NAME).contains(&name.chars().count()) || name.chars().any(char::is_control) {
        return Err(Failure::new(Exit::Usage, format!("the name must be 1 to {MAX_NAME} characters on one line")));
    }
    let operator = Operator::open(settings, Arc::new(SystemClock)).await?;
    let secret = SigningKey::from_bytes(rand::random());
    let key_id = format!("iss_{}", URL_SAFE_NO_PAD.encode(rand::random::<[u8; 12]>()));
    let shown = Zeroizing::new(URL_SAFE_NO_PAD.encode(secret.as_bytes()));
    let key = IssuerKey { key_id: key_id.clone(), secret };
    let new = NewIssuerKey { key, name: name.clone(), created_at: SystemClock.now() };
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
