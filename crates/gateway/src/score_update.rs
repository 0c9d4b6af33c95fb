//! A score update: the checks in the contract's order (DESIGN.md, section 3), then the queue, then the answer.

use std::time::{Duration, Instant};

use actix_web::http::header::{HeaderMap, LOCATION};
use actix_web::{HttpRequest, HttpResponse, web};
use common::board::{ActionRule, Proof};
use common::error_code::{Details, ErrorCode, Refusal};
use common::ids::{ActionId, ActionType, BoardId, SubmissionId, UserId};
use common::ports::{KeyClaim, SubmitError, Submitted};
use common::rate_limit::{Allowance, Quota};
use common::receipt::{Answer, Outcome, Receipt, ReceiptStatus, TURNED_DOWN};
use common::score_update::{AddressHash, ScoreUpdate};
use http_edge::ApiError;
use http_edge::body::{JsonObject, json_object};
use http_edge::refusal::rate_limit_headers;
use http_edge::request_scope::request_id;
use http_edge::security_event;
use runtime::access_token::Claims;
use uuid::Uuid;
use wire::json::UpdateAnswerJson;

use crate::admission::{Actor, Check, LocalChecks, Verdict, key_reused, verdict};
use crate::app::Gateway;
use crate::openapi::ScoreUpdateBody;
use crate::tokens::bearer;
use crate::update_shape::UpdateShape;

/// `POST /api/v1/score/update`
#[utoipa::path(post, path = "/api/v1/score/update", tag = "scores", security(("bearer" = [])), request_body = ScoreUpdateBody, params(("Idempotency-Key" = Option<String>, Header, description = "Names the request: a repeat gets the first answer. 1 to 255 visible ASCII characters"), ("Prefer" = Option<String>, Header, description = "`respond-async`: 202 at once")), responses(
    (status = 200, description = "Committed", body = UpdateAnswerJson, headers(("Idempotent-Replayed" = Option<String>, description = "`true` on a first answer that is given again"), ("RateLimit" = Option<String>), ("RateLimit-Policy" = Option<String>))),
    (status = 202, description = "Durable, not yet decided", body = UpdateAnswerJson, headers(("Location" = String, description = "The receipt"))),
))]
pub(crate) async fn post(
    gateway: web::Data<Gateway>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, ApiError> {
    Ok(gateway.update(&request, payload, ActionType::default_type()).await?)
}

/// `POST /update-score`: fixed points, token proof.
#[utoipa::path(post, path = "/update-score", tag = "scores", security(("bearer" = [])), request_body = ScoreUpdateBody, params(("Idempotency-Key" = Option<String>, Header, description = "Names the request: a repeat gets the first answer. 1 to 255 visible ASCII characters"), ("Prefer" = Option<String>, Header, description = "`respond-async`: 202 at once")), responses(
    (status = 200, description = "Committed", body = UpdateAnswerJson, headers(("Idempotent-Replayed" = Option<String>, description = "`true` on a first answer that is given again"), ("RateLimit" = Option<String>), ("RateLimit-Policy" = Option<String>))),
    (status = 202, description = "Durable, not yet decided", body = UpdateAnswerJson, headers(("Location" = String, description = "The receipt"))),
))]
pub(crate) async fn post_task(
    gateway: web::Data<Gateway>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, ApiError> {
    Ok(gateway.update(&request, payload, ActionType::task()).await?)
}

impl Gateway {
    async fn update(
        &self,
        request: &HttpRequest,
        payload: web::Payload,
        default_type: ActionType,
    ) -> Result<HttpResponse, Refusal> {
        let local = self.check_locally(request, payload, default_type).await;
        let limits = &self.settings.limits;
        let address = self.address(request);
        // A refused token counts as none.
        let ceiling = if local.actor.is_some() { limits.address } else { limits.address_anonymous };
        let respond_async = prefers_async(request.headers());
        let (answered, allowances) = self.carry_out(local, Some((ceiling, address.clone())), respond_async).await;
        match answered {
            Ok(accepted) => {
                let mut response = accepted.respond();
                rate_limit_headers(response.headers_mut(), &allowances);
                Ok(response)
            }
            Err(refusal) => Err(refusal),
        }
    }

    /// From the local checks to the answer: one round trip to the guard, the first refusal, or the queue.
    pub(crate) async fn carry_out(
        &self,
        local: LocalChecks,
        address: Option<(Quota, String)>,
        respond_async: bool,
    ) -> (Result<Accepted, Refusal>, Vec<Allowance>) {
        let question = local.question(address, self.settings.limits.user_updates);
        let admission = self.ports.guard.admit(&question).await;
        let allowances: Vec<Allowance> = admission.user.into_iter().chain(admission.address).collect();
        let answered = match verdict(local, &admission) {
            Verdict::Submit(update) => self.submit(*update, question.claim.as_ref(), respond_async).await,
            Verdict::Replay(body) => Ok(Accepted::Applied { body, replayed: true }),
            Verdict::Refuse(check, refusal) => {
                // Checks after the stored answer refuse when the key may be reserved already.
                if let Some(claim) = question.claim.as_ref().filter(|_| check > Check::StoredAnswer) {
                    self.ports.guard.release(claim).await;
                }
                Err(refusal)
            }
        };
        (answered, allowances)
    }

    /// The checks that need nothing but the request and what this node knows, up to the first that refuses.
    async fn check_locally(
        &self,
        request: &HttpRequest,
        payload: web::Payload,
        default_type: ActionType,
    ) -> LocalChecks {
        // Verified first, told in its place: a good token counts as one whatever else is wrong.
        let claims = self.claims(request).await;
        if let Ok(claims) = &claims {
            security_event::name_user(request, claims.user);
        }
        let early = |check, refusal| LocalChecks {
            actor: claims.as_ref().ok().map(Actor::from),
            ..LocalChecks::refused(check, refusal)
        };
        let body = match json_object(request, payload).await {
            Ok(body) => body,
            Err(refusal) => return early(Check::SizeAndMediaType, refusal),
        };
        let shape = match self.shape(request, &body, default_type) {
            Ok(shape) => shape,
            Err(refusal) => return early(Check::Shape, refusal),
        };
        security_event::name_action(request, &shape.board, &shape.action_id);
        let claims = match claims {
            Ok(claims) => claims,
            Err(refusal) => return LocalChecks::refused(Check::Token, refusal),
        };
        let address = self.address(request);
        let address_hash = AddressHash::of(&self.tokens.signing_masters().current, &address);
        self.check_shape(&shape, &Shown::Token(claims), request_id(request), Some(address_hash)).await
    }

    /// The checks of a well-formed update, once it is known who sends it.
    pub(crate) async fn check_shape(
        &self,
        shape: &UpdateShape,
        shown: &Shown,
        request_id: String,
        address_hash: Option<AddressHash>,
    ) -> LocalChecks {
        let actor = shown.actor();
        let user = actor.user;
        let refused = |check, refusal| LocalChecks { actor: Some(actor), claim: None, outcome: Err((check, refusal)) };
        if let Err(refusal) = shape.own_score(user) {
            return refused(Check::OwnScore, refusal);
        }
        let (rule, proof) = match self.proof(shape, shown).await {
            Ok(proven) => proven,
            Err(refusal) => return refused(Check::Signature, refusal),
        };
        let now = self.ports.clock.now();
        let submission = SubmissionId(Uuid::now_v7());
        let content_hash = shape.content_hash();
        let claim = shape.idempotency_key.clone().map(|key| KeyClaim { user, key, content_hash, submission });
        let bounds = || rule.resolve_points(shape.points).map_err(|refusal| (Check::Bounds, refusal));
        let outcome = shape.fresh(now).map_err(|refusal| (Check::Timestamp, refusal)).and_then(|()| bounds());
        let outcome = outcome.map(|points| ScoreUpdate {
            submission,
            user,
            points,
            proof,
            content_hash,
            accepted_at: now,
            request_id,
            address_hash,
            trace: runtime::telemetry::current_trace_context(),
            board: shape.board.clone(),
            action_id: shape.action_id.clone(),
            action_type: shape.action_type.clone(),
            idempotency_key: shape.idempotency_key.clone(),
        });
        LocalChecks { actor: Some(actor), claim, outcome }
    }

    fn shape(
        &self,
        request: &HttpRequest,
        body: &JsonObject,
        default_type: ActionType,
    ) -> Result<UpdateShape, Refusal> {
        let shape = UpdateShape::parse(request, body, default_type)?;
        // Which fields must be there is the type's to say; an unknown one is refused later, at its place in the order.
        if let Some(board) = self.ports.views.board(&shape.board)
            && let Ok(rule) = shape.rule(&board)
        {
            shape.has_fields_for(rule.proof)?;
        }
        Ok(shape)
    }

    async fn claims(&self, request: &HttpRequest) -> Result<Claims, Refusal> {
        self.tokens.verify(bearer(request)?).await
    }

    /// The board and the type are known, and what the type asks for was shown.
    async fn proof(&self, shape: &UpdateShape, shown: &Shown) -> Result<(ActionRule, Proof), Refusal> {
        let board = self.known_board(&shape.board)?;
        let rule = shape.rule(&board)?;
        let claims = match shown {
            Shown::Token(claims) => claims,
            // A game server says itself that the points were earned, and its key shows that it is one.
            Shown::ServiceKey(_) => return Ok((rule.clone(), Proof::Issuer)),
        };
        let issuer_key = match shape.key_id() {
            Some(key_id) => self.issuer_keys.find(key_id).await?,
            None => None,
        };
        let masters = self.tokens.signing_masters();
        let session_keys = masters.session_keys(claims.session);
        let proof = shape.verify_signature(rule, claims.user, session_keys, issuer_key.as_ref())?;
        Ok((rule.clone(), proof))
    }

    async fn submit(
        &self,
        update: ScoreUpdate,
        claim: Option<&KeyClaim>,
        respond_async: bool,
    ) -> Result<Accepted, Refusal> {
        let queue = &self.ports.queue;
        // A queue that does not outlive the process can promise nothing before the decision.
        let wait = if respond_async && queue.outlives_process() { Duration::ZERO } else { self.settings.submit_wait };
        runtime::failpoint::reached("reserved");
        let started = Instant::now();
        let submitted = queue.submit(update.clone(), wait).await;
        let took = started.elapsed().as_secs_f64();
        match submitted {
            Ok(Submitted::Decided(answer)) => {
                self.metrics.submitted("decided", took);
                self.settle(answer, claim).await
            }
            Ok(Submitted::Pending) => {
                self.metrics.submitted("pending", took);
                self.undecided.add(&update);
                self.ports.pending.mark(&update).await;
                // A repeat goes the same way and is answered by whatever the worker decides of the first.
                if let Some(claim) = claim {
                    self.ports.guard.release(claim).await;
                }
                Ok(Accepted::Pending { action_id: update.action_id, board: update.board })
            }
            // The reservation stays: the update may still land, and until it runs out a repeat is not a second one.
            Err(error) => {
                self.metrics.submitted("unavailable", took);
                tracing::warn!(board = %update.board, error = %runtime::exit::causes(&error), "an update was not taken");
                let retry_after_s = if let SubmitError::Behind { retry_after_s } = error { retry_after_s } else { 1 };
                let message = match error {
                    SubmitError::Unavailable(_) | SubmitError::Behind { .. } => {
                        "updates are not being taken at the moment; the same request can safely be sent again"
                    }
                    SubmitError::Undecided(_) => "no decision in time; the same request can safely be sent again",
                };
                Err(Refusal::new(ErrorCode::Unavailable, message).retry_after(retry_after_s))
            }
        }
    }

    /// Answers what the worker decided, and keeps the answer for the key, or gives the key back.
    async fn settle(&self, answer: Answer, claim: Option<&KeyClaim>) -> Result<Accepted, Refusal> {
        let decided = self.decided(answer);
        runtime::failpoint::reached("answered");
        if let Some(claim) = claim {
            match &decided {
                Ok(Accepted::Applied { body, .. }) => self.ports.guard.keep_answer(claim, body).await,
                // A repeat of what is held hears of the review once there is one.
                Ok(Accepted::Pending { .. }) | Err(_) => self.ports.guard.release(claim).await,
            }
        }
        runtime::failpoint::reached("kept");
        decided
    }

    fn decided(&self, answer: Answer) -> Result<Accepted, Refusal> {
        match answer.outcome {
            Outcome::Applied { receipt, replayed } => {
                if let Some(version) = receipt.version {
                    self.standings.saw(&receipt.board, version);
                }
                let body = serde_json::to_vec(&UpdateAnswerJson::applied(&receipt, answer.rank));
                let body = body.map_err(|_| Refusal::internal())?;
                Ok(Accepted::Applied { body, replayed })
            }
            Outcome::Rejected { receipt, retry_after_s } => Err(self.rejected(&receipt, retry_after_s)),
            Outcome::DuplicateAction { receipt } => {
                let message = format!("action {} was already used on board {}", receipt.action_id, receipt.board);
                let mut refusal = Refusal::new(ErrorCode::DuplicateAction, message);
                refusal.details = Details::Receipt(Box::new(receipt));
                Err(refusal)
            }
            Outcome::KeyReused => Err(key_reused()),
            // Recorded, and so promised: answered 202 also where a queue does not outlive its process.
            Outcome::Quarantined { receipt } => {
                Ok(Accepted::Pending { action_id: receipt.action_id, board: receipt.board })
            }
        }
    }
}

/// Who sends an update, as it was shown.
pub(crate) enum Shown {
    /// A player, by its token.
    Token(Claims),
    /// A trusted caller, by its service key, on behalf of this user.
    ServiceKey(UserId),
}

impl Shown {
    fn actor(&self) -> Actor {
        match self {
            Self::Token(claims) => Actor::from(claims),
            Self::ServiceKey(user) => Actor { user: *user, session: None },
        }
    }
}

/// An update that was not refused.
pub(crate) enum Accepted {
    /// Committed: the JSON of the answer, which is kept byte for byte.
    Applied { body: Vec<u8>, replayed: bool },
    /// Durable, not yet decided, or held for a review: the receipt will tell.
    Pending { action_id: ActionId, board: BoardId },
}

impl Accepted {
    fn respond(self) -> HttpResponse {
        match self {
            Self::Applied { body, replayed } => {
                let mut response = HttpResponse::Ok();
                if replayed {
                    response.insert_header(("idempotent-replayed", "true"));
                }
                response.content_type(mime::JSON).body(body)
            }
            Self::Pending { action_id, board } => {
                let location = format!("/api/v1/score/updates/{action_id}?board={board}");
                let body = UpdateAnswerJson::pending(&action_id, &board);
                HttpResponse::Accepted().insert_header((LOCATION, location)).json(body)
            }
        }
    }
}

mod mime {
    pub(super) const JSON: &str = "application/json";
}

impl Gateway {
    fn rejected(&self, receipt: &Receipt, retry_after_s: Option<u64>) -> Refusal {
        let ReceiptStatus::Rejected(code) = receipt.status else { return Refusal::internal() };
        let message = match code {
            ErrorCode::DailyCapReached => {
                format!("the points of action type {} for this UTC day are used up", receipt.action_type)
            }
            ErrorCode::PointsOutOfRange => "the score would leave the range of ±(2^53-1)".to_owned(),
            ErrorCode::UnknownBoard => format!("there is no board {}", receipt.board),
            ErrorCode::UnknownActionType => {
                format!("board {} has no action type {}", receipt.board, receipt.action_type)
            }
            ErrorCode::NotFound => "there is no such player".to_owned(),
            TURNED_DOWN => "the action was held for review and turned down".to_owned(),
            _ => format!("the update was decided against: {code}"),
        };
        let mut refusal = Refusal::new(code, message);
        refusal.retry_after_s = retry_after_s;
        if code == ErrorCode::DailyCapReached {
            refusal.details = Details::Limit(DAILY_CAP);
            refusal.allowance = self.daily_allowance(receipt, retry_after_s).map(Box::new);
        }
        refusal
    }

    /// The cap as a limit, for the `RateLimit` headers.
    fn daily_allowance(&self, receipt: &Receipt, retry_after_s: Option<u64>) -> Option<Allowance> {
        let board = self.ports.views.board(&receipt.board)?;
        let cap = board.rule(&receipt.action_type).ok()?.daily_cap;
        let wait = Duration::from_secs(retry_after_s?);
        let limit = u32::try_from(cap).unwrap_or(u32::MAX);
        let quota = Quota { name: DAILY_CAP, limit, period: Duration::from_secs(24 * 60 * 60) };
        Some(Allowance { quota, allowed: false, remaining: 0, retry_after: wait, reset_after: wait })
    }
}

/// What the daily cap of an action type is called in `details.limit` and `RateLimit`.
const DAILY_CAP: &str = "daily-cap";

/// RFC 7240, section 4.1.
fn prefers_async(headers: &HeaderMap) -> bool {
    headers.get_all("prefer").filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).any(
        |preference| preference.split(';').next().is_some_and(|name| name.trim().eq_ignore_ascii_case("respond-async")),
    )
}
