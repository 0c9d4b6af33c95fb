//! Passwords that a command is given: on standard input or in the environment, never as an argument.

use std::io::Read as _;

use runtime::exit::{Exit, Failure};
use zeroize::Zeroizing;

use crate::command_line::PasswordArgs;

/// The longest password that is accepted is 128 characters of at most 4 bytes, and a line's end.
const MAX_BYTES: u64 = 4 * 128 + 2;

/// The password, if one was given.
pub(crate) fn given(args: &PasswordArgs) -> Result<Option<Zeroizing<String>>, Failure> {
    if let Some(variable) = &args.password_env {
        let password = std::env::var(variable)
            .map_err(|_| Failure::new(Exit::Usage, format!("--password-env: the variable {variable} is not set")))?;
        return Ok(Some(Zeroizing::new(password)));
    }
    if !args.password_stdin {
        return Ok(None);
    }
    let mut text = Zeroizing::new(String::new());
    std::io::stdin().lock().take(MAX_BYTES + 1).read_to_string(&mut text).map_err(|error| {
        Failure::new(Exit::Usage, format!("--password-stdin: standard input cannot be read: {error}"))
    })?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        return Err(Failure::new(Exit::Usage, "--password-stdin: standard input holds no password"));
    }
    Ok(Some(Zeroizing::new(line.to_owned())))
}

/// The password, or the usage that asks for one.
pub(crate) fn required(args: &PasswordArgs) -> Result<Zeroizing<String>, Failure> {
    given(args)?.ok_or_else(|| {
        Failure::new(Exit::Usage, "the password is missing: give it with --password-stdin or --password-env VARIABLE")
    })
}
