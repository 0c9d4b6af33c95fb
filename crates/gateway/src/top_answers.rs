//! `/top` as bytes, made once for each state of a board that somebody asks for: thousands ask for the same one.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use actix_web::http::header::HeaderValue;
use board_view::View;
use bytes::Bytes;
use common::error_code::Refusal;
use common::ids::BoardId;
use common::standing::TopList;
use parking_lot::RwLock;
use wire::json::entries;

/// Answers that are kept, each up to some 15 KB; whoever comes when there are so many finds them forgotten.
const KEPT: usize = 512;

/// The answers to the newest states, by board and limit.
#[derive(Default)]
pub(crate) struct TopAnswers(RwLock<HashMap<(BoardId, usize), Kept>>);

struct Kept {
    of: Weak<View>,
    answer: TopAnswer,
}

/// An answer with its `ETag`.
#[derive(Clone)]
pub(crate) struct TopAnswer {
    pub(crate) tag: HeaderValue,
    pub(crate) body: Bytes,
}

impl TopAnswers {
    /// The answer that shows a view.
    ///
    /// # Errors
    /// `internal` where it cannot be encoded.
    pub(crate) fn of(&self, view: &Arc<View>, limit: usize) -> Result<TopAnswer, Refusal> {
        let key = (view.board.clone(), limit);
        // A view that somebody still refers to is at no other one's address.
        if let Some(kept) = self.0.read().get(&key).filter(|kept| kept.of.as_ptr() == Arc::as_ptr(view)) {
            return Ok(kept.answer.clone());
        }
        let answer = TopAnswer::new(&view.top(limit))?;
        let mut answers = self.0.write();
        if answers.len() >= KEPT && !answers.contains_key(&key) {
            answers.clear();
        }
        answers.insert(key, Kept { of: Arc::downgrade(view), answer: answer.clone() });
        Ok(answer)
    }
}

impl TopAnswer {
    /// # Errors
    /// `internal` where the list cannot be encoded.
    pub(crate) fn new(top: &TopList) -> Result<Self, Refusal> {
        let body = serde_json::to_vec(&entries(&top.entries)).map_err(|_| Refusal::internal())?;
        let tag = HeaderValue::try_from(format!("\"{}\"", top.state)).map_err(|_| Refusal::internal())?;
        Ok(Self { tag, body: body.into() })
    }
}
