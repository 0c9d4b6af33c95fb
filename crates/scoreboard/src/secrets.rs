//! Our own secrets: given in distributed mode, made on the first run otherwise.

use std::path::PathBuf;

use runtime::exit::{Exit, Failure, causes};
use runtime::process::secrets_dir;
use runtime::secrets::{AuthSecrets, FanoutSecrets, GatewaySecrets, SecretsError};
use runtime::settings::{Mode, Settings};

/// The secrets of all services in one process.
pub struct Secrets {
    /// Of auth.
    pub auth: AuthSecrets,
    /// Of the gateway.
    pub gateway: GatewaySecrets,
}

impl Secrets {
    /// Reads them; on embedded backends without a directory of secrets, makes them in the data directory first.
    ///
    /// # Errors
    /// [`Exit::Config`] naming the setting or the file.
    pub fn open(settings: &Settings) -> Result<Self, Failure> {
        let dir = match (&settings.secrets.dir, settings.mode()?) {
            (None, Mode::Embedded) => {
                let dir = own_dir(settings);
                let report = runtime::secrets::init(&dir).map_err(unusable)?;
                if report.kept == 0 {
                    tracing::info!(dir = %dir.display(), "first run: secrets were made");
                }
                dir
            }
            _ => secrets_dir(settings)?.to_owned(),
        };
        Ok(Self {
            auth: AuthSecrets::load(&dir).map_err(unusable)?,
            gateway: GatewaySecrets::load(&dir).map_err(unusable)?,
        })
    }
}

/// Whether the directory that the settings name holds what every service needs; makes nothing.
pub(crate) fn check(settings: &Settings) -> Result<(), Failure> {
    if settings.secrets.dir.is_none() && settings.mode()? == Mode::Embedded {
        return Ok(());
    }
    let dir = secrets_dir(settings)?;
    AuthSecrets::load(dir).map_err(unusable)?;
    GatewaySecrets::load(dir).map_err(unusable)?;
    FanoutSecrets::load(dir).map_err(unusable)?;
    Ok(())
}

fn own_dir(settings: &Settings) -> PathBuf {
    settings.data.dir.join("secrets")
}

fn unusable(error: SecretsError) -> Failure {
    Failure::new(Exit::Config, format!("SCOREBOARD__SECRETS__DIR: {}", causes(&error)))
}
