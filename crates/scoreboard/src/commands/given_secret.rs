//! Passwords and tokens that a command is given: on standard input or in the environment, never as an argument.

use std::io::Read as _;

use runtime::exit::{Exit, Failure};
use zeroize::Zeroizing;

use crate::command_line::{PasswordArgs, TokenArgs};

/// The longest that is read: more than any password or token that is accepted.
const MAX_BYTES: u64 = 8 * 1024;

/// The password, if one was given.
pub(crate) fn password(args: &PasswordArgs) -> Result<Option<Zeroizing<String>>, Failure> {
    given("password", args.password_env.as_deref(), args.password_stdin)
}

/// The password, or the usage that asks for one.
pub(crate) fn required_password(args: &PasswordArgs) -> Result<Zeroizing<String>, Failure> {
    password(args)?.ok_or_else(|| {
        Failure::new(Exit::Usage, "the password is missing: give it with --password-stdin or --password-env VARIABLE")
    })
}

/// The access token, if one was given.
pub(crate) fn token(args: &TokenArgs) -> Result<Option<Zeroizing<String>>, Failure> {
    given("token", args.token_env.as_deref(), args.token_stdin)
}

/// The value of `--WHAT-env` or `--WHAT-stdin`.
fn given(what: &str, variable: Option<&str>, stdin: bool) -> Result<Option<Zeroizing<String>>, Failure> {
    if let Some(variable) = variable {
        let value = std::env::var(variable)
            .map_err(|_| Failure::new(Exit::Usage, format!("--{what}-env: the variable {variable} is not set")))?;
        return Ok(Some(Zeroizing::new(value)));
    }
    if !stdin {
        return Ok(None);
    }
    let mut text = Zeroizing::new(String::new());
    std::io::stdin().lock().take(MAX_BYTES).read_to_string(&mut text).map_err(|error| {
        Failure::new(Exit::Usage, format!("--{what}-stdin: standard input cannot be read: {error}"))
    })?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        return Err(Failure::new(Exit::Usage, format!("--{what}-stdin: standard input holds no {what}")));
    }
    Ok(Some(Zeroizing::new(line.to_owned())))
}
