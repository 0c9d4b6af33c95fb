//! The messages of the queue: updates from the gateway to the score-worker, and the answers back.

use common::board::Proof;
use common::error_code::ErrorCode;
use common::ids::{ActionId, ActionType, BoardId, IdempotencyKey, SubmissionId, UserId};
use common::receipt::{Answer, Outcome, Receipt, ReceiptStatus};
use common::score_update::{AddressHash, ContentHash, ScoreUpdate, TraceContext};
use prost::Message as _;

use crate::damaged::{self, DamagedMessage};
use crate::v1;

/// The most updates, and answers, that one message may carry.
pub const MAX_UPDATES_PER_MESSAGE: usize = 1_000;

/// W3C allows 512 characters of `tracestate`; `traceparent` and request ids are far below it.
const MAX_TELEMETRY_BYTES: usize = 512;

/// The body of a message in `score.updates`, taken apart: a damaged update does not take good ones with it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DecodedBatch {
    /// The good ones, in the message's order.
    pub updates: Vec<ScoreUpdate>,
    /// The others as they came, each with what is wrong with it.
    pub damaged: Vec<(v1::ScoreUpdate, DamagedMessage)>,
}

/// Writes a [`v1::ScoreUpdateBatch`].
pub fn encode_updates<'a>(updates: impl IntoIterator<Item = &'a ScoreUpdate>) -> Vec<u8> {
    v1::ScoreUpdateBatch { updates: updates.into_iter().map(Into::into).collect() }.encode_to_vec()
}

/// Reads a [`v1::ScoreUpdateBatch`].
///
/// # Errors
/// [`DamagedMessage`] when the body as a whole cannot be used: it does not decode, is empty, or carries more than
/// [`MAX_UPDATES_PER_MESSAGE`].
pub fn decode_updates(body: &[u8]) -> Result<DecodedBatch, DamagedMessage> {
    let batch = v1::ScoreUpdateBatch::decode(body)?;
    if batch.updates.is_empty() {
        return Err(DamagedMessage::new("updates", "must not be empty"));
    }
    check_count("updates", batch.updates.len())?;
    let mut decoded = DecodedBatch::default();
    for update in batch.updates {
        match ScoreUpdate::try_from(&update) {
            Ok(good) => decoded.updates.push(good),
            Err(why) => decoded.damaged.push((update, why)),
        }
    }
    Ok(decoded)
}

/// Writes a [`v1::AnswerBatch`].
pub fn encode_answers<'a>(answers: impl IntoIterator<Item = (SubmissionId, &'a Answer)>) -> Vec<u8> {
    let answers = answers.into_iter().map(|(submission, answer)| answer_message(submission, answer)).collect();
    v1::AnswerBatch { answers }.encode_to_vec()
}

/// Reads a [`v1::AnswerBatch`].
///
/// # Errors
/// [`DamagedMessage`] when it, or one of its answers, cannot be used.
pub fn decode_answers(body: &[u8]) -> Result<Vec<(SubmissionId, Answer)>, DamagedMessage> {
    let batch = v1::AnswerBatch::decode(body)?;
    check_count("answers", batch.answers.len())?;
    batch.answers.into_iter().map(|answer| read_answer(&answer)).collect()
}

fn check_count(field: &'static str, count: usize) -> Result<(), DamagedMessage> {
    if count <= MAX_UPDATES_PER_MESSAGE {
        return Ok(());
    }
    Err(DamagedMessage::new(field, format!("must be at most {MAX_UPDATES_PER_MESSAGE}, not {count}")))
}

impl From<&TraceContext> for v1::TraceContext {
    fn from(trace: &TraceContext) -> Self {
        Self { traceparent: trace.traceparent.clone(), tracestate: trace.tracestate.clone() }
    }
}

/// Telemetry is no reason to refuse an update that was promised: what has not the form of a header is left out.
pub(crate) fn read_trace(trace: Option<&v1::TraceContext>) -> TraceContext {
    trace.map_or_else(TraceContext::default, |trace| TraceContext {
        traceparent: telemetry(&trace.traceparent),
        tracestate: telemetry(&trace.tracestate),
    })
}

fn telemetry(text: &str) -> String {
    let header_like = text.len() <= MAX_TELEMETRY_BYTES && text.bytes().all(|b| (b' '..=b'~').contains(&b));
    if header_like { text.to_owned() } else { String::new() }
}

impl From<Proof> for v1::Proof {
    fn from(proof: Proof) -> Self {
        match proof {
            Proof::Session => Self::Session,
            Proof::Issuer => Self::Issuer,
            Proof::Token => Self::Token,
        }
    }
}

pub(crate) fn read_proof(proof: i32) -> Result<Proof, DamagedMessage> {
    match v1::Proof::try_from(proof) {
        Ok(v1::Proof::Session) => Ok(Proof::Session),
        Ok(v1::Proof::Issuer) => Ok(Proof::Issuer),
        Ok(v1::Proof::Token) => Ok(Proof::Token),
        Ok(v1::Proof::Unspecified) => Err(DamagedMessage::missing("proof")),
        Err(_) => Err(DamagedMessage::new("proof", format!("must be a known kind of proof, not {proof}"))),
    }
}

impl From<&ScoreUpdate> for v1::ScoreUpdate {
    fn from(update: &ScoreUpdate) -> Self {
        Self {
            submission_id: update.submission.0.as_bytes().to_vec(),
            board: update.board.as_str().to_owned(),
            user_id: update.user.0.as_bytes().to_vec(),
            action_id: update.action_id.as_str().to_owned(),
            action_type: update.action_type.as_str().to_owned(),
            points: update.points,
            proof: v1::Proof::from(update.proof).into(),
            idempotency_key: update.idempotency_key.as_ref().map(|key| key.as_str().to_owned()),
            content_hash: update.content_hash.0.to_vec(),
            accepted_at_ms: update.accepted_at.as_millis(),
            request_id: update.request_id.clone(),
            trace: Some((&update.trace).into()),
            address_hash: update.address_hash.map(|hash| hash.0.to_vec()),
        }
    }
}

impl TryFrom<&v1::ScoreUpdate> for ScoreUpdate {
    type Error = DamagedMessage;

    fn try_from(update: &v1::ScoreUpdate) -> Result<Self, DamagedMessage> {
        let content_hash = <[u8; 32]>::try_from(update.content_hash.as_slice())
            .map_err(|_| DamagedMessage::new("content_hash", "must be 32 bytes"))?;
        Ok(Self {
            submission: SubmissionId(damaged::uuid("submission_id", &update.submission_id)?),
            board: BoardId::parse(&update.board)?,
            user: UserId(damaged::uuid("user_id", &update.user_id)?),
            action_id: ActionId::parse(&update.action_id)?,
            action_type: ActionType::parse(&update.action_type)?,
            points: damaged::score("points", update.points)?,
            proof: read_proof(update.proof)?,
            idempotency_key: update.idempotency_key.as_deref().map(IdempotencyKey::parse).transpose()?,
            content_hash: ContentHash(content_hash),
            accepted_at: damaged::timestamp("accepted_at_ms", update.accepted_at_ms)?,
            request_id: telemetry(&update.request_id),
            // Like telemetry: no reason to refuse an update that was promised.
            address_hash: update.address_hash.as_deref().and_then(|hash| hash.try_into().ok()).map(AddressHash),
            trace: read_trace(update.trace.as_ref()),
        })
    }
}

impl From<&Receipt> for v1::Receipt {
    fn from(receipt: &Receipt) -> Self {
        let (status, code) = match receipt.status {
            ReceiptStatus::Pending => (v1::ReceiptStatus::Pending, ""),
            ReceiptStatus::Applied => (v1::ReceiptStatus::Applied, ""),
            ReceiptStatus::Rejected(code) => (v1::ReceiptStatus::Rejected, code.as_str()),
        };
        Self {
            status: status.into(),
            code: code.to_owned(),
            action_id: receipt.action_id.as_str().to_owned(),
            board: receipt.board.as_str().to_owned(),
            action_type: receipt.action_type.as_str().to_owned(),
            points: receipt.points,
            new_score: receipt.new_score,
            version: receipt.version.map(|version| version.0),
            decided_at_ms: receipt.decided_at.map(common::clock::Timestamp::as_millis),
        }
    }
}

impl TryFrom<&v1::Receipt> for Receipt {
    type Error = DamagedMessage;

    fn try_from(receipt: &v1::Receipt) -> Result<Self, DamagedMessage> {
        let this = Self {
            status: read_status(receipt)?,
            action_id: ActionId::parse(&receipt.action_id)?,
            board: BoardId::parse(&receipt.board)?,
            action_type: ActionType::parse(&receipt.action_type)?,
            points: damaged::score("points", receipt.points)?,
            new_score: receipt.new_score.map(|score| damaged::score("new_score", score)).transpose()?,
            version: receipt.version.map(|version| damaged::version("version", version)).transpose()?,
            decided_at: receipt.decided_at_ms.map(|at| damaged::timestamp("decided_at_ms", at)).transpose()?,
        };
        if this.status == ReceiptStatus::Applied {
            // What an answer of 200 shows; it must not be possible to show half of it.
            this.new_score.ok_or(DamagedMessage::missing("new_score"))?;
            this.version.ok_or(DamagedMessage::missing("version"))?;
            this.decided_at.ok_or(DamagedMessage::missing("decided_at_ms"))?;
        }
        Ok(this)
    }
}

fn read_status(receipt: &v1::Receipt) -> Result<ReceiptStatus, DamagedMessage> {
    match v1::ReceiptStatus::try_from(receipt.status) {
        Ok(v1::ReceiptStatus::Pending) => Ok(ReceiptStatus::Pending),
        Ok(v1::ReceiptStatus::Applied) => Ok(ReceiptStatus::Applied),
        Ok(v1::ReceiptStatus::Rejected) => ErrorCode::parse(&receipt.code)
            .map(ReceiptStatus::Rejected)
            .ok_or_else(|| DamagedMessage::new("code", "must be a code of the error table")),
        Ok(v1::ReceiptStatus::Unspecified) => Err(DamagedMessage::missing("status")),
        Err(_) => Err(DamagedMessage::new("status", format!("must be a known status, not {}", receipt.status))),
    }
}

impl From<&Outcome> for v1::Outcome {
    fn from(outcome: &Outcome) -> Self {
        use v1::outcome::{Applied, DuplicateAction, KeyReused, Kind, Quarantined, Rejected};
        let kind = match outcome {
            Outcome::Applied { receipt, replayed } => {
                Kind::Applied(Applied { receipt: Some(receipt.into()), replayed: *replayed })
            }
            Outcome::Rejected { receipt, retry_after_s } => {
                Kind::Rejected(Rejected { receipt: Some(receipt.into()), retry_after_seconds: *retry_after_s })
            }
            Outcome::DuplicateAction { receipt } => {
                Kind::DuplicateAction(DuplicateAction { receipt: Some(receipt.into()) })
            }
            Outcome::KeyReused => Kind::KeyReused(KeyReused {}),
            Outcome::Quarantined { receipt } => Kind::Quarantined(Quarantined { receipt: Some(receipt.into()) }),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<&v1::Outcome> for Outcome {
    type Error = DamagedMessage;

    fn try_from(outcome: &v1::Outcome) -> Result<Self, DamagedMessage> {
        use v1::outcome::Kind;
        match outcome.kind.as_ref().ok_or(DamagedMessage::missing("outcome"))? {
            Kind::Applied(applied) => {
                let receipt = read_receipt(applied.receipt.as_ref())?;
                if receipt.status != ReceiptStatus::Applied {
                    return Err(DamagedMessage::new("status", "must be applied, as the outcome says"));
                }
                Ok(Self::Applied { receipt, replayed: applied.replayed })
            }
            Kind::Rejected(rejected) => {
                let receipt = read_receipt(rejected.receipt.as_ref())?;
                if !matches!(receipt.status, ReceiptStatus::Rejected(_)) {
                    return Err(DamagedMessage::new("status", "must be rejected, as the outcome says"));
                }
                Ok(Self::Rejected { receipt, retry_after_s: rejected.retry_after_seconds })
            }
            Kind::DuplicateAction(duplicate) => {
                Ok(Self::DuplicateAction { receipt: read_receipt(duplicate.receipt.as_ref())? })
            }
            Kind::KeyReused(_) => Ok(Self::KeyReused),
            Kind::Quarantined(held) => {
                let receipt = read_receipt(held.receipt.as_ref())?;
                if receipt.status != ReceiptStatus::Pending {
                    return Err(DamagedMessage::new("status", "must be pending, as the outcome says"));
                }
                Ok(Self::Quarantined { receipt })
            }
        }
    }
}

fn read_receipt(receipt: Option<&v1::Receipt>) -> Result<Receipt, DamagedMessage> {
    receipt.ok_or(DamagedMessage::missing("receipt"))?.try_into()
}

fn answer_message(submission: SubmissionId, answer: &Answer) -> v1::Answer {
    v1::Answer {
        submission_id: submission.0.as_bytes().to_vec(),
        outcome: Some((&answer.outcome).into()),
        rank: answer.rank,
    }
}

fn read_answer(answer: &v1::Answer) -> Result<(SubmissionId, Answer), DamagedMessage> {
    let submission = SubmissionId(damaged::uuid("submission_id", &answer.submission_id)?);
    let outcome = answer.outcome.as_ref().ok_or(DamagedMessage::missing("outcome"))?.try_into()?;
    Ok((submission, Answer { outcome, rank: damaged::rank(answer.rank)? }))
}
