//! `scoreboard user create NAME`.

use std::sync::Arc;

use auth::{AuthService, AuthSettings};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::error_code::ErrorCode;
use common::ports::Authority as _;
use runtime::clock::SystemClock;
use runtime::exit::{Exit, Failure, causes};
use runtime::settings::{Mode, Settings, Sources};
use serde_json::json;
use zeroize::Zeroizing;

use super::given_secret;
use crate::backends::Backends;
use crate::command_line::UserCreateArgs;
use crate::output::Output;
use crate::secrets::Secrets;

pub(crate) async fn create(sources: &Sources, args: UserCreateArgs, output: Output) -> Result<Exit, Failure> {
    let settings = Settings::load(sources)?;
    let given = given_secret::password(&args.password)?;
    let made_up = given.is_none();
    let password = given.unwrap_or_else(|| Zeroizing::new(URL_SAFE_NO_PAD.encode(rand::random::<[u8; 18]>())));
    let clock = Arc::new(SystemClock);
    let backends = Backends::open(&settings, clock.clone()).map_err(|failure| advise(failure, &settings))?;
    let created = async {
        let auth = AuthService::new(backends.auth_ports(clock), &AuthSettings::new(Secrets::open(&settings)?.auth))
            .map_err(|error| Failure::new(Exit::Bug, causes(&error)))?;
        let refused = |refusal: common::error_code::Refusal| match refusal.code {
            ErrorCode::Unavailable => {
                Failure::unavailable("the database", "SCOREBOARD__DATABASE__URL", &refusal.message)
            }
            ErrorCode::Internal => Failure::new(Exit::Bug, refusal.message),
            _ => Failure::new(Exit::Refused, refusal.to_string()),
        };
        auth.register(&args.name, &password).await.map_err(refused)
    };
    let created = created.await;
    backends.close().await;
    let (user, username) = created?;
    let mut answer = json!({"userId": user.to_string(), "username": username});
    if made_up {
        answer["password"] = password.as_str().into();
    }
    output.print(&answer, || {
        let hint = if made_up { format!(", password {} (shown only now)", password.as_str()) } else { String::new() };
        format!("{username} was created: user id {user}{hint}")
    });
    Ok(Exit::Success)
}

fn advise(failure: Failure, settings: &Settings) -> Failure {
    if failure.exit == Exit::Unavailable && settings.mode() == Ok(Mode::Embedded) {
        let next_step = "while a server runs, create accounts with POST /api/v1/auth/register";
        return Failure::new(failure.exit, format!("{}; {next_step}", failure.message));
    }
    failure
}
