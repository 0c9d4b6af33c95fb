//! `scoreboard key init DIR` and `scoreboard key rotate DIR`.

use std::path::Path;

use runtime::exit::{Exit, Failure, causes};
use runtime::secrets::{SecretsError, retire_token_key, rotate_signing_master, rotate_token_key};
use serde_json::json;

use crate::command_line::KeyRotateArgs;
use crate::output::Output;

pub(crate) fn init(dir: &Path, output: Output) -> Result<Exit, Failure> {
    let report = runtime::secrets::init(dir).map_err(unusable)?;
    let created: Vec<_> = report.created.iter().map(|path| path.display().to_string()).collect();
    output.print(&json!({"dir": dir, "created": created, "kept": report.kept}), || {
        let dir = dir.display();
        match (created.len(), report.kept) {
            (0, kept) => format!("{dir}: all {kept} secrets were there and stay as they are"),
            (made, kept) => format!(
                "{dir}: {made} files made, {kept} kept. Give each service its own subdirectory and name the directory \
                 in SCOREBOARD__SECRETS__DIR"
            ),
        }
    });
    Ok(Exit::Success)
}

pub(crate) fn rotate(args: &KeyRotateArgs, output: Output) -> Result<Exit, Failure> {
    const NEXT_STEP: &str =
        "Give each service its subdirectory again if it has a copy, and send HUP to auth and gateway";
    let dir = args.dir.as_path();
    if let Some(kid) = &args.retire {
        retire_token_key(dir, kid).map_err(unusable)?;
        output.print(&json!({"dir": dir, "retired": kid}), || {
            format!(
                "{kid} was retired: once they have heard of it its tokens are refused, so that players whose tokens it \
                 signed must refresh, and if it still signs the new key does at once. {NEXT_STEP}"
            )
        });
    } else if args.signing_master {
        rotate_signing_master(dir).map_err(unusable)?;
        output.print(&json!({"dir": dir, "rotated": "signing-master"}), || {
            format!("the signing master was rotated; keys of the one before stay good. {NEXT_STEP}")
        });
    } else {
        let keys = rotate_token_key(dir).map_err(unusable)?;
        output.print(&json!({"dir": dir, "active": keys.active, "verifying": keys.verifying}), || {
            let old = keys.verifying.join(", ");
            format!(
                "{} signs once auth has heard of it and auth.rotation_overlap_s (60 unless set) have passed; until then \
                 the key before goes on signing, and {old} still verifies. {NEXT_STEP}",
                keys.active
            )
        });
    }
    Ok(Exit::Success)
}

fn unusable(error: SecretsError) -> Failure {
    Failure::new(Exit::Config, causes(&error))
}
