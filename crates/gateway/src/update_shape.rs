//! The shape of a score update: JSON fields become checked values, or a refusal that names the field.

use actix_web::HttpRequest;
use common::board::{ActionRule, Board, Proof};
use common::clock::Timestamp;
use common::error_code::{ErrorCode, Refusal};
use common::ids::{ActionId, ActionType, BoardId, IdempotencyKey, InvalidValue, UserId};
use common::score_update::ContentHash;
use common::signature::{SignedAction, SigningKey};
use http_edge::body::{JsonObject, missing};

/// How far a client's clock may be off, both ways.
const TIMESTAMP_WINDOW_MS: i64 = 5 * 60 * 1000;

/// A well-formed update; nothing is verified yet.
pub(crate) struct UpdateShape {
    pub(crate) action_id: ActionId,
    pub(crate) board: BoardId,
    pub(crate) action_type: ActionType,
    pub(crate) points: Option<i64>,
    pub(crate) idempotency_key: Option<IdempotencyKey>,
    user_id: Option<String>,
    timestamp: Option<(String, Timestamp)>,
    signature: Option<String>,
    key_id: Option<String>,
}

impl UpdateShape {
    /// Reads the fields. `default_type` is meant when none is named.
    pub(crate) fn parse(request: &HttpRequest, body: &JsonObject, default_type: ActionType) -> Result<Self, Refusal> {
        let action_id = ActionId::parse(body.required_text("actionId")?)?;
        let board = body.text("board")?.map(BoardId::parse).transpose()?.unwrap_or_else(BoardId::global);
        let action_type = body.text("actionType")?.map(ActionType::parse).transpose()?.unwrap_or(default_type);
        let points = body.integer("points")?;
        let user_id = body.text("userId")?.map(str::to_owned);
        let timestamp = body
            .text("timestamp")?
            .map(|text| Timestamp::parse_rfc3339(text).map(|time| (text.to_owned(), time)))
            .transpose()?;
        let signature = body.text("signature")?.map(str::to_owned);
        let key_id = body.text("keyId")?.map(str::to_owned);
        let shape = Self {
            idempotency_key: idempotency_key(request, body)?,
            action_id,
            board,
            action_type,
            points,
            user_id,
            timestamp,
            signature,
            key_id,
        };
        if shape.signature.is_some() && shape.timestamp.is_none() {
            return Err(missing("timestamp"));
        }
        Ok(shape)
    }

    /// What a trusted caller submits: its service key stands in for signature and timestamp.
    pub(crate) const fn of_issuer(
        board: BoardId,
        action_id: ActionId,
        action_type: ActionType,
        points: Option<i64>,
        idempotency_key: Option<IdempotencyKey>,
    ) -> Self {
        Self {
            action_id,
            board,
            action_type,
            points,
            idempotency_key,
            user_id: None,
            timestamp: None,
            signature: None,
            key_id: None,
        }
    }

    /// The fields that a type's proof needs are there.
    pub(crate) fn has_fields_for(&self, proof: Proof) -> Result<(), Refusal> {
        match proof {
            Proof::Token => Ok(()),
            Proof::Session | Proof::Issuer if self.timestamp.is_none() => Err(missing("timestamp")),
            Proof::Session | Proof::Issuer if self.signature.is_none() => Err(missing("signature")),
            Proof::Session | Proof::Issuer => Ok(()),
        }
    }

    /// The user that the body names, if it names one, is the token's.
    pub(crate) fn own_score(&self, user: UserId) -> Result<(), Refusal> {
        match &self.user_id {
            Some(named) if *named != user.to_string() => Err(Refusal::new(
                ErrorCode::Forbidden,
                "the token belongs to another user; a score can only be moved by its own",
            )),
            _ => Ok(()),
        }
    }

    /// The issuer key that the update names.
    pub(crate) fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// The signature, where the type asks for one or one was sent; and the proof that was shown. `issuer_key` is the
    /// one that the update names, if it is in use; a session's keys never stand in for it.
    pub(crate) fn verify_signature(
        &self,
        rule: &ActionRule,
        user: UserId,
        mut session_keys: impl Iterator<Item = SigningKey>,
        issuer_key: Option<&SigningKey>,
    ) -> Result<Proof, Refusal> {
        let invalid = |message: &str| Err(Refusal::new(ErrorCode::InvalidSignature, message).with_field("signature"));
        if self.key_id.is_some() && issuer_key.is_none() {
            return invalid("the keyId is unknown");
        }
        if self.key_id.is_none() && rule.proof == Proof::Issuer {
            return Err(Refusal::new(
                ErrorCode::IssuerProofRequired,
                format!("action type {} is moved by a game server's signature only", rule.action_type),
            ));
        }
        let (Some(signature), Some((timestamp, _))) = (&self.signature, &self.timestamp) else {
            if self.key_id.is_some() {
                return invalid("a keyId names the key of a signature, and there is none");
            }
            return Ok(Proof::Token);
        };
        let action = SignedAction {
            board: &self.board,
            user,
            action_id: &self.action_id,
            action_type: &self.action_type,
            points: self.points,
            timestamp,
        };
        let verified = match (&self.key_id, issuer_key) {
            (None, _) => session_keys.any(|key| action.verify(&key, signature)),
            (Some(_), key) => key.is_some_and(|key| action.verify(key, signature)),
        };
        if !verified {
            return invalid(
                "the signature does not verify: 64 lower-case hex digits of HMAC-SHA256 over the seven lines",
            );
        }
        Ok(match rule.proof {
            _ if self.key_id.is_some() => Proof::Issuer,
            Proof::Token => Proof::Token,
            Proof::Session | Proof::Issuer => Proof::Session,
        })
    }

    /// The timestamp, if one was sent, is within 5 minutes of `now`.
    pub(crate) fn fresh(&self, now: Timestamp) -> Result<(), Refusal> {
        match self.timestamp {
            Some((_, time)) if now.millis_since(time).abs() > TIMESTAMP_WINDOW_MS => Err(Refusal::new(
                ErrorCode::StaleTimestamp,
                format!("the timestamp must be within 5 minutes of the server's clock, which shows {now}"),
            )
            .with_field("timestamp")),
            _ => Ok(()),
        }
    }

    /// What an idempotency key stands for.
    pub(crate) fn content_hash(&self) -> ContentHash {
        ContentHash::of(&self.board, &self.action_id, &self.action_type, self.points)
    }

    /// The rule of the update's type.
    pub(crate) fn rule<'a>(&self, board: &'a Board) -> Result<&'a ActionRule, Refusal> {
        board.rule(&self.action_type)
    }
}

/// From the `Idempotency-Key` header, else from the body.
fn idempotency_key(request: &HttpRequest, body: &JsonObject) -> Result<Option<IdempotencyKey>, Refusal> {
    let wrong = || InvalidValue::new("idempotencyKey", "must be 1 to 255 visible ASCII characters");
    let text = match request.headers().get("idempotency-key") {
        Some(header) => Some(header.to_str().map_err(|_| wrong())?),
        None => body.text("idempotencyKey")?,
    };
    Ok(text.map(IdempotencyKey::parse).transpose()?)
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
