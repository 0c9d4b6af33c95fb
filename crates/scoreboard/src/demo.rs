//! `scoreboard serve --demo`: a few players play at human pace, so that a board that is opened for the first time moves.
//!
//! They have accounts like everybody and take the same way as everybody from the queue on: ledger, bounds, daily caps,
//! ranks, events. Only HTTP is left out, so that they use up nobody's address limit.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::board::Proof;
use common::error_code::{ErrorCode, Refusal};
use common::ids::{ActionId, ActionType, BoardId, SubmissionId, UserId};
use common::ports::Authority as _;
use common::score_update::{ContentHash, ScoreUpdate};
use runtime::backoff::Backoff;
use runtime::settings::Settings;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::app::Inside;
use crate::private_file;

const NAMES: [&str; 6] = ["ada", "grace", "alan", "edsger", "barbara", "katherine"];

/// Milliseconds between two actions of one player: at most 7.5 a minute, below the users' limit of 10.
const PAUSE_MS: std::ops::RangeInclusive<u64> = 8_000..=20_000;

/// Milliseconds before a player's first action: the board moves at once.
const FIRST_PAUSE_MS: std::ops::RangeInclusive<u64> = 0..=3_000;

/// Points of one action. A player who plays day and night stays below the type's daily cap.
const POINTS: std::ops::RangeInclusive<i64> = 1..=120;

/// How many other names a player tries when somebody else has the wanted one.
const NAME_ATTEMPTS: usize = 5;

/// The demo players of a server.
pub(crate) struct Demo {
    inside: Inside,
    memory: PathBuf,
    submit_wait: Duration,
}

/// What is remembered from one run to the next. The passwords are random, for nobody but us.
#[derive(Default, Serialize, Deserialize)]
struct Memory {
    players: Vec<Credentials>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Credentials {
    username: String,
    password: String,
}

#[derive(Debug, thiserror::Error)]
enum DemoError {
    #[error("{0}")]
    Refused(#[from] Refusal),
    #[error("{path} cannot be used")]
    Memory { path: String, source: std::io::Error },
    #[error("no free name like {0}")]
    NoName(&'static str),
}

impl Demo {
    pub(crate) fn new(inside: Inside, settings: &Settings) -> Self {
        Self {
            inside,
            memory: settings.data.dir.join("demo.json"),
            submit_wait: Duration::from_millis(settings.submit.wait_ms),
        }
    }

    /// Plays until `stop`.
    pub(crate) async fn run(&self, stop: &CancellationToken) {
        let mut backoff = Backoff::reconnect();
        let players = loop {
            match self.open_players().await {
                Ok(players) => break players,
                Err(error) => {
                    tracing::warn!(error = %runtime::exit::causes(&error), "the demo players cannot log in; trying again");
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = tokio::time::sleep(backoff.next_wait()) => {}
                    }
                }
            }
        };
        tracing::info!(players = players.len(), "the demo players play");
        let playing = players.into_iter().map(|user| self.play(user));
        tokio::select! {
            () = stop.cancelled() => {}
            _ = futures_util::future::join_all(playing) => {}
        }
    }

    async fn open_players(&self) -> Result<Vec<UserId>, DemoError> {
        let mut memory = self.remembered()?;
        let mut users = Vec::new();
        for (index, name) in NAMES.into_iter().enumerate() {
            users.push(self.open_player(index, name, &mut memory).await?);
        }
        Ok(users)
    }

    async fn open_player(&self, index: usize, name: &'static str, memory: &mut Memory) -> Result<UserId, DemoError> {
        for attempt in 0..NAME_ATTEMPTS {
            let known = memory.players.get(index).cloned();
            let player = known.unwrap_or_else(|| Credentials::random(name, attempt > 0));
            if memory.players.len() == index {
                memory.players.push(player.clone());
                // Before the account: a run that ends in between must know the password of what it made.
                self.remember(memory)?;
            }
            match self.inside.authority.register(&player.username, &player.password).await {
                Ok((user, _)) => return Ok(user),
                Err(refusal) if refusal.code == ErrorCode::UsernameTaken => {}
                Err(refusal) => return Err(refusal.into()),
            }
            match self.inside.authority.login(&player.username, &player.password).await {
                Ok(grant) => return Ok(grant.user),
                // Somebody else has the name.
                Err(refusal) if refusal.code == ErrorCode::InvalidCredentials => memory.players.truncate(index),
                Err(refusal) => return Err(refusal.into()),
            }
        }
        Err(DemoError::NoName(name))
    }

    async fn play(&self, user: UserId) {
        let mut pause = rand::random_range(FIRST_PAUSE_MS);
        loop {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            if let Some(update) = self.action(user)
                && let Err(error) = self.inside.queue.submit(update, self.submit_wait).await
            {
                tracing::debug!(error = %runtime::exit::causes(&error), "a demo player's action was not taken");
            }
            pause = rand::random_range(PAUSE_MS);
        }
    }

    fn action(&self, user: UserId) -> Option<ScoreUpdate> {
        let (board, action_type) = (BoardId::global(), ActionType::default_type());
        let action_id = ActionId::parse(&format!("demo-{}", Uuid::now_v7().simple())).ok()?;
        let points = rand::random_range(POINTS);
        Some(ScoreUpdate {
            submission: SubmissionId(Uuid::now_v7()),
            user,
            content_hash: ContentHash::of(&board, &action_id, &action_type, Some(points)),
            address_hash: None,
            request_id: action_id.to_string(),
            board,
            action_id,
            action_type,
            points,
            // The process itself opened the session; nobody else could have sent this.
            proof: Proof::Session,
            idempotency_key: None,
            accepted_at: self.inside.clock.now(),
            trace: runtime::telemetry::current_trace_context(),
        })
    }

    fn remembered(&self) -> Result<Memory, DemoError> {
        match std::fs::read(&self.memory) {
            // Damaged: the players get new names.
            Ok(text) => Ok(serde_json::from_slice(&text).unwrap_or_default()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Memory::default()),
            Err(source) => Err(self.unusable(source)),
        }
    }

    fn remember(&self, memory: &Memory) -> Result<(), DemoError> {
        let text = serde_json::to_vec_pretty(memory).map_err(|error| self.unusable(error.into()))?;
        private_file::replace(&self.memory, &text).map_err(|source| self.unusable(source))
    }

    fn unusable(&self, source: std::io::Error) -> DemoError {
        DemoError::Memory { path: self.memory.display().to_string(), source }
    }
}

impl Credentials {
    fn random(name: &str, with_suffix: bool) -> Self {
        let username =
            if with_suffix { format!("{name}-{:04}", rand::random_range(0..10_000)) } else { name.to_owned() };
        Self { username, password: URL_SAFE_NO_PAD.encode(rand::random::<[u8; 24]>()) }
    }
}
