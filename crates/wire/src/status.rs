//! Refusals over gRPC: the status code and the metadata that carry one, paired through the one table of codes.

use std::collections::HashSet;

use common::error_code::{Details, ErrorCode, Refusal};
use common::receipt::Receipt;
use parking_lot::Mutex;
use prost::Message as _;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};

use crate::v1;

/// The stable name of the code: several share one gRPC code.
const CODE: &str = "scoreboard-code";
/// Seconds after which a repeat makes sense.
const RETRY_AFTER: &str = "scoreboard-retry-after";
/// `details.field`.
const FIELD: &str = "scoreboard-field";
/// `details.limit`.
const LIMIT: &str = "scoreboard-limit";
/// `details.setting`.
const SETTING: &str = "scoreboard-setting";
/// `details.receipt`, as [`v1::Receipt`].
const RECEIPT: &str = "scoreboard-receipt-bin";

/// A refusal as a gRPC status.
#[must_use]
pub fn status_from_refusal(refusal: &Refusal) -> Status {
    let mut metadata = MetadataMap::new();
    put(&mut metadata, CODE, refusal.code.as_str());
    if let Some(seconds) = refusal.retry_after_s {
        metadata.insert(RETRY_AFTER, seconds.into());
    }
    match &refusal.details {
        Details::None => {}
        Details::Field(field) => put(&mut metadata, FIELD, field),
        Details::Limit(limit) => put(&mut metadata, LIMIT, limit),
        Details::Setting(setting) => put(&mut metadata, SETTING, setting),
        Details::Receipt(receipt) => {
            let bytes = v1::Receipt::from(receipt.as_ref()).encode_to_vec();
            metadata.insert_bin(RECEIPT, MetadataValue::from_bytes(&bytes));
        }
    }
    Status::with_metadata(Code::from_i32(refusal.code.grpc_code()), refusal.message.clone(), metadata)
}

/// The refusal that a gRPC status carries. A status without a code of ours comes from below the service: it is
/// `unavailable` where a repeat can help, else `internal`, both opaque (log the status where it is handled).
#[must_use]
pub fn refusal_from_status(status: &Status) -> Refusal {
    let metadata = status.metadata();
    let Some(code) = text(metadata, CODE).and_then(ErrorCode::parse) else {
        return refusal_from_foreign(status);
    };
    let retry_after_s = text(metadata, RETRY_AFTER).and_then(|seconds| seconds.parse().ok());
    Refusal {
        code,
        message: status.message().to_owned(),
        details: read_details(metadata),
        retry_after_s,
        allowance: None,
    }
}

fn refusal_from_foreign(status: &Status) -> Refusal {
    match status.code() {
        // `Unknown` is what tonic says of a connection that broke, `Cancelled` of a stream that did.
        Code::Unavailable
        | Code::DeadlineExceeded
        | Code::Cancelled
        | Code::Aborted
        | Code::ResourceExhausted
        | Code::Unknown => Refusal::unavailable(),
        _ => Refusal::internal(),
    }
}

fn read_details(metadata: &MetadataMap) -> Details {
    let name = |key| text(metadata, key).and_then(interned);
    if let Some(field) = name(FIELD) {
        return Details::Field(field);
    }
    if let Some(limit) = name(LIMIT) {
        return Details::Limit(limit);
    }
    if let Some(setting) = name(SETTING) {
        return Details::Setting(setting);
    }
    read_receipt(metadata).map_or(Details::None, |receipt| Details::Receipt(Box::new(receipt)))
}

fn read_receipt(metadata: &MetadataMap) -> Option<Receipt> {
    let bytes = metadata.get_bin(RECEIPT)?.to_bytes().ok()?;
    Receipt::try_from(&v1::Receipt::decode(bytes).ok()?).ok()
}

/// Names are ASCII without control characters; one that is not says nothing rather than failing the answer.
fn put(metadata: &mut MetadataMap, key: &'static str, value: &str) {
    if let Ok(value) = value.parse() {
        metadata.insert(key, value);
    }
}

fn text<'a>(metadata: &'a MetadataMap, key: &str) -> Option<&'a str> {
    metadata.get(key)?.to_str().ok()
}

const MAX_NAMES: usize = 256;
const MAX_NAME_BYTES: usize = 64;

/// The domain names fields, limits and settings by `&'static str`, being literals of our own source. A peer's
/// names are literals of the same source, so the set is small; the bound holds should a peer misbehave, and a
/// name beyond it is left out.
fn interned(name: &str) -> Option<&'static str> {
    static NAMES: Mutex<Option<HashSet<&'static str>>> = Mutex::new(None);
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        return None;
    }
    let mut names = NAMES.lock();
    let names = names.get_or_insert_default();
    if let Some(known) = names.get(name) {
        return Some(known);
    }
    if names.len() >= MAX_NAMES {
        return None;
    }
    let known: &'static str = Box::leak(name.to_owned().into_boxed_str());
    names.insert(known);
    Some(known)
}

#[cfg(test)]
mod tests {
    use common::clock::Timestamp;
    use common::ids::{ActionId, ActionType, BoardId};
    use common::receipt::ReceiptStatus;
    use common::state::Version;

    use super::*;

    #[test]
    fn every_code_survives_the_way_there_and_back() {
        for code in ErrorCode::ALL {
            let refusal = Refusal::new(*code, "näher erklärt").retry_after(7).with_field("actionId");
            let status = status_from_refusal(&refusal);
            assert_eq!(status.code() as i32, code.grpc_code(), "{code}");
            assert_eq!(refusal_from_status(&status), refusal);
        }
    }

    #[test]
    fn details_survive() {
        let receipt = Receipt {
            status: ReceiptStatus::Applied,
            action_id: ActionId::parse("a").unwrap(),
            board: BoardId::global(),
            action_type: ActionType::task(),
            points: 10,
            new_score: Some(20),
            version: Some(Version(3)),
            decided_at: Some(Timestamp::from_millis(5)),
        };
        for details in [
            Details::None,
            Details::Limit("user"),
            Details::Setting("HTTP__ALLOWED_ORIGINS"),
            Details::Receipt(Box::new(receipt)),
        ] {
            let refusal = Refusal { details, ..Refusal::new(ErrorCode::DuplicateAction, "used") };
            assert_eq!(refusal_from_status(&status_from_refusal(&refusal)), refusal);
        }
    }

    #[test]
    fn a_foreign_status_shows_nothing_of_itself() {
        for (code, expected) in [
            (Code::Unavailable, ErrorCode::Unavailable),
            (Code::DeadlineExceeded, ErrorCode::Unavailable),
            (Code::Unknown, ErrorCode::Unavailable),
            (Code::Unimplemented, ErrorCode::Internal),
            (Code::Unauthenticated, ErrorCode::Internal),
        ] {
            let refusal = refusal_from_status(&Status::new(code, "driver's words"));
            assert_eq!(refusal.code, expected);
            assert!(!refusal.message.contains("driver"));
        }
    }

    #[test]
    fn names_of_a_peer_are_bounded() {
        assert_eq!(interned(&"x".repeat(MAX_NAME_BYTES + 1)), None);
        assert_eq!(interned("points"), Some("points"));
    }
}
