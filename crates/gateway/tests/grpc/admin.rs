//! What the operator does by gRPC.

use common::error_code::ErrorCode;
use tonic::Code;
use wire::refusal_from_status;
use wire::v1::{
    ActionTypeRule, CreateIssuerKeyRequest, GetBoardRequest, ListBoardsRequest, ListIssuerKeysRequest, Proof,
    RemoveActionTypeRequest, RevokeIssuerKeyRequest, SetActionTypeRequest, SetStreamTokenRequest,
};

use crate::support::Node;

#[tokio::test(flavor = "multi_thread")]
async fn issuer_keys_are_made_listed_and_revoked() {
    let node = Node::start().await;
    let mut admin = node.admin().await;
    let made = admin.create_issuer_key(CreateIssuerKeyRequest { name: "arena".to_owned() }).await.unwrap().into_inner();
    assert_eq!((made.name.as_str(), made.secret.len()), ("arena", 43));
    let authority = &node.authority;
    assert!(authority.issuer_keys().await.unwrap().iter().any(|key| key.key_id == made.key_id));

    let listed = admin.list_issuer_keys(ListIssuerKeysRequest {}).await.unwrap().into_inner();
    assert_eq!(listed.keys.len(), 1);
    assert_eq!((&listed.keys[0].key_id, listed.keys[0].revoked_at_ms), (&made.key_id, None));
    assert!(!format!("{listed:?}").contains(&made.secret));

    let revoke = RevokeIssuerKeyRequest { key_id: made.key_id.clone() };
    let revoked = admin.revoke_issuer_key(revoke.clone()).await.unwrap().into_inner();
    assert!(revoked.revoked_at_ms.is_some());
    assert!(!authority.issuer_keys().await.unwrap().iter().any(|key| key.key_id == made.key_id));
    assert_eq!(admin.revoke_issuer_key(revoke).await.unwrap_err().code(), Code::NotFound);

    for name in [String::new(), "a\nb".to_owned(), "x".repeat(65)] {
        let refused = admin.create_issuer_key(CreateIssuerKeyRequest { name }).await.unwrap_err();
        assert_eq!(refusal_from_status(&refused).code, ErrorCode::InvalidRequest);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn boards_are_read_and_their_types_changed() {
    let node = Node::start().await;
    let mut admin = node.admin().await;
    let boards = admin.list_boards(ListBoardsRequest {}).await.unwrap().into_inner().boards;
    assert_eq!(boards.iter().map(|board| board.board.as_str()).collect::<Vec<_>>(), ["global"]);
    let rule = ActionTypeRule {
        action_type: "won".to_owned(),
        proof: Proof::Issuer.into(),
        min_points: 1,
        max_points: 9,
        default_points: 3,
        daily_cap: 90,
    };
    let set = |rule: &ActionTypeRule| SetActionTypeRequest { board: String::new(), rule: Some(rule.clone()) };
    let board = admin.set_action_type(set(&rule)).await.unwrap().into_inner();
    assert!(board.action_types.contains(&rule), "{board:?}");
    assert_eq!(admin.get_board(GetBoardRequest::default()).await.unwrap().into_inner(), board);

    for (unsound, field) in [
        (ActionTypeRule { proof: 0, ..rule.clone() }, "proof"),
        (ActionTypeRule { proof: Proof::Token.into(), ..rule.clone() }, "rule"),
        (ActionTypeRule { min_points: 10, ..rule.clone() }, "rule"),
        (ActionTypeRule { action_type: "a b".to_owned(), ..rule.clone() }, "actionType"),
    ] {
        let refused = admin.set_action_type(set(&unsound)).await.unwrap_err();
        assert_eq!(refused.metadata().get("scoreboard-field").unwrap(), field);
    }
    let elsewhere = SetActionTypeRequest { board: "nowhere".to_owned(), ..set(&rule) };
    let refused = admin.set_action_type(elsewhere).await.unwrap_err();
    assert_eq!(refusal_from_status(&refused).code, ErrorCode::UnknownBoard);
    let remove = RemoveActionTypeRequest { board: String::new(), action_type: "won".to_owned() };
    let board = admin.remove_action_type(remove.clone()).await.unwrap().into_inner();
    assert!(!board.action_types.contains(&rule));
    assert_eq!(admin.remove_action_type(remove).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_boards_stream_is_closed_to_whoever_shows_no_token_and_opened_again() {
    let node = Node::start().await;
    let mut admin = node.admin().await;
    assert!(!admin.get_board(GetBoardRequest::default()).await.unwrap().into_inner().stream_token);
    for demanded in [true, false] {
        let set = SetStreamTokenRequest { board: "global".to_owned(), demanded };
        assert_eq!(admin.set_stream_token(set).await.unwrap().into_inner().stream_token, demanded);
        let boards = admin.list_boards(ListBoardsRequest {}).await.unwrap().into_inner().boards;
        assert_eq!(boards[0].stream_token, demanded);
    }
    let elsewhere = SetStreamTokenRequest { board: "nowhere".to_owned(), demanded: true };
    let refused = admin.set_stream_token(elsewhere).await.unwrap_err();
    assert_eq!(refusal_from_status(&refused).code, ErrorCode::UnknownBoard);
}
