//! Keeps the views current: hears events, compares with the truth's heads, reads what is missing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::ports::{Event, Signal, StoreError};
use common::state::BoardHead;
use common::top_window::WINDOW_ROWS;
use tokio_util::sync::CancellationToken;

use crate::views::BoardViews;

/// The truth does not answer within this: it is away.
const TRUTH_LIMIT: Duration = Duration::from_secs(2);

/// The truth could not be compared with.
#[derive(Debug, thiserror::Error)]
enum CompareError {
    #[error("the truth did not answer within {} s", TRUTH_LIMIT.as_secs())]
    TimedOut,
    #[error("the truth could not be read")]
    Store(#[from] StoreError),
}

impl BoardViews {
    /// Follows until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = async { tokio::join!(self.hear(), self.compare_for_ever()); } => {}
        }
    }

    async fn hear(&self) {
        let mut stream = self.bus.subscribe();
        while let Some(signal) = stream.next().await {
            match signal {
                Signal::Event(Event::BoardChanged { change, .. }) => self.take(&change),
                Signal::Event(Event::SessionRevoked(_)) => {}
                Signal::Gap => self.repair.notify_one(),
            }
        }
        // The bus is closed; the comparison goes on alone.
        std::future::pending().await
    }

    async fn compare_for_ever(&self) {
        let mut away = false;
        let mut rules_read: Option<Instant> = None;
        loop {
            let moment = self.moment();
            let rules_due = rules_read.is_none_or(|read| read.elapsed() >= self.settings.rules);
            match self.compare(rules_due).await {
                Ok(()) => {
                    self.confirm(moment);
                    if rules_due {
                        rules_read = Some(Instant::now());
                    }
                    if std::mem::take(&mut away) {
                        tracing::info!("the truth is back; views are current again");
                    }
                }
                Err(error) => {
                    self.metrics.poll_failed();
                    if !std::mem::replace(&mut away, true) {
                        tracing::warn!(%error, cause = error_cause(&error), "views cannot be compared with the truth; showing what is known");
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(self.settings.poll) => {}
                // Repairs wait a moment too, so that a storm of events that do not fit is one comparison.
                () = self.repair.notified() => tokio::time::sleep(self.settings.poll / 50).await,
            }
        }
    }

    async fn compare(&self, rules_due: bool) -> Result<(), CompareError> {
        let heads = bounded(self.truth.heads()).await?;
        let slots = self.slots.load_full();
        let unknown = heads.iter().any(|head| !slots.contains_key(&head.board));
        if rules_due || unknown {
            let boards = bounded(self.truth.boards()).await?;
            self.boards.store(Arc::new(boards.into_iter().map(Arc::new).collect()));
        }
        for head in &heads {
            self.catch_up(head).await?;
        }
        Ok(())
    }

    async fn catch_up(&self, head: &BoardHead) -> Result<(), CompareError> {
        let reason = match self.view(&head.board) {
            None => "new",
            Some(view) if view.state().epoch != head.state.epoch => "epoch",
            Some(view) if view.state().version < head.state.version => "behind",
            Some(_) => return Ok(()),
        };
        if let Some(top) = bounded(self.truth.top(&head.board, WINDOW_ROWS)).await? {
            self.metrics.refilled(reason);
            self.show(&head.board, top);
        }
        Ok(())
    }
}

async fn bounded<T>(read: impl Future<Output = Result<T, StoreError>>) -> Result<T, CompareError> {
    Ok(tokio::time::timeout(TRUTH_LIMIT, read).await.map_err(|_| CompareError::TimedOut)??)
}

fn error_cause(error: &CompareError) -> String {
    let mut text = String::new();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        text.push_str(&cause.to_string());
        text.push_str("; ");
        next = cause.source();
    }
    text
}
