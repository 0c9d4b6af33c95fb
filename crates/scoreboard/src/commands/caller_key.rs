//! `scoreboard key caller create DIR NAME`.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use runtime::exit::{Exit, Failure, causes};
use runtime::secrets::{Permission, create_caller, is_valid_caller};
use serde_json::json;

use crate::output::Output;

#[derive(Debug, Subcommand)]
pub(crate) enum CallerKeyCommand {
    /// Makes a service key for a game server or an operator's program, which calls by gRPC
    ///
    /// Auth lets it in when it is started again, a gateway after HUP. The key is in DIR/NAME/service-key; the caller shows
    /// it as `authorization: Bearer <key>`. A second run adds what is missing and takes nothing away.
    Create {
        /// The directory that `key init` made
        dir: PathBuf,
        /// 1 to 32 of a-z, 0-9 and -
        name: String,
        /// What it may do: have actions signed by auth, move and read scores at the gateway, administer there
        #[arg(long, value_delimiter = ',', default_value = "sign", value_parser = ["sign", "score", "admin"])]
        may: Vec<String>,
    },
}

pub(crate) fn run(command: CallerKeyCommand, output: Output) -> Result<Exit, Failure> {
    let CallerKeyCommand::Create { dir, name, may } = command;
    let may: Vec<Permission> = may.iter().filter_map(|permission| Permission::parse(permission)).collect();
    create(&dir, &name, &may, output)
}

fn create(dir: &Path, name: &str, may: &[Permission], output: Output) -> Result<Exit, Failure> {
    if !is_valid_caller(name) {
        let form = "1 to 32 of a-z, 0-9 and -, and not the name of a service of ours";
        return Err(Failure::new(Exit::Usage, format!("NAME must be {form}")));
    }
    let report = create_caller(dir, name, may).map_err(|error| Failure::new(Exit::Config, causes(&error)))?;
    let created: Vec<_> = report.created.iter().map(|path| path.display().to_string()).collect();
    let key = dir.join(name).join("service-key");
    output.print(&json!({"caller": name, "serviceKey": key, "created": created, "kept": report.kept}), || {
        let key = key.display();
        let done = if created.is_empty() {
            "was there and stays as it is"
        } else {
            "was made; start auth again, HUP to gateways"
        };
        format!("{name}: {key} {done}")
    });
    Ok(Exit::Success)
}
