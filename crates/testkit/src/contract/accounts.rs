//! What every [`Accounts`] must do. Users and sessions are made anew, so a database may be shared.

use std::any::Any;
use std::sync::Arc;

use common::account::{
    NewAccount, NewSession, OpenSession, PasswordChange, RefreshHash, RefreshRotation, Revocation, Rotated,
};
use common::clock::Timestamp;
use common::ids::{SessionId, UserId, Username};
use common::ports::{AccountCreated, Accounts};
use uuid::Uuid;

use crate::fixtures::{PASSWORD_HASH, Player, new_account, noon, players, session_id, user_id};

/// The store under test.
pub struct Fixture {
    /// It.
    pub accounts: Arc<dyn Accounts>,
    /// What it stands on, dropped with it.
    pub guard: Box<dyn Any + Send + Sync>,
}

/// A test of each case of the suite.
#[macro_export]
macro_rules! accounts_contract {
    ($fixture:path) => {
        $crate::contract_tests!(
            accounts as accounts_contract,
            $fixture,
            [
                a_created_account_is_found_without_case,
                a_name_is_taken_in_every_case,
                racing_registrations_give_one_account,
                nobody_is_found_for_an_unknown_name,
                a_rotation_gives_a_successor,
                the_previous_token_in_its_grace_gives_no_second_chain,
                the_previous_token_after_its_grace_ends_the_session,
                an_older_token_ends_the_session,
                racing_rotations_get_the_same_successor,
                an_unknown_token_of_a_live_session_is_reuse,
                an_expired_session_is_refused,
                a_revoked_session_is_over,
                revocations_are_told_from_a_moment_on,
                a_changed_password_ends_all_other_sessions,
                a_password_is_changed_from_the_one_that_was_compared,
                of_racing_changes_of_a_password_one_happens,
                no_session_outlives_the_password_that_opened_it,
                all_sessions_of_a_user_end_and_nobody_elses,
                open_sessions_are_listed_with_their_times,
            ]
        );
    };
}

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
const GRACE_MS: i64 = 10_000;

fn token() -> RefreshHash {
    let (a, b) = (Uuid::new_v4(), Uuid::new_v4());
    let mut hash = [0; 32];
    hash[..16].copy_from_slice(a.as_bytes());
    hash[16..].copy_from_slice(b.as_bytes());
    RefreshHash(hash)
}

/// An open session with its first token.
async fn session(fixture: &Fixture) -> (Player, SessionId, RefreshHash) {
    let player = players(&*fixture.accounts, 1).await.remove(0);
    let (session, first) = open(fixture, player.user, noon()).await;
    (player, session, first)
}

/// A session of a user, opened at `now`, with its first token.
async fn open(fixture: &Fixture, user: UserId, now: Timestamp) -> (SessionId, RefreshHash) {
    let (session, refresh_hash) = (session_id(), token());
    assert!(fixture.accounts.open_session(login(session, refresh_hash, user, now)).await.expect("open_session"));
    (session, refresh_hash)
}

/// A login with the password that players are created with.
fn login(session: SessionId, refresh_hash: RefreshHash, user: UserId, now: Timestamp) -> NewSession {
    let password_hash = PASSWORD_HASH.to_owned();
    NewSession { session, user, password_hash, refresh_hash, created_at: now, expires_at: now.plus_millis(DAY_MS) }
}

fn sorted(mut sessions: Vec<SessionId>) -> Vec<SessionId> {
    sessions.sort_by_key(|session| session.0);
    sessions
}

fn rotation(session: SessionId, presented: RefreshHash, successor: RefreshHash, now: Timestamp) -> RefreshRotation {
    RefreshRotation { session, presented, successor, now, expires_at: now.plus_millis(DAY_MS), grace_ms: GRACE_MS }
}

#[derive(PartialEq, Eq, Debug)]
enum Seen {
    Successor,
    Reused,
    Refused,
}

async fn rotate(fixture: &Fixture, rotation: RefreshRotation) -> Seen {
    match fixture.accounts.rotate(rotation).await.expect("rotate") {
        Rotated::Successor { .. } => Seen::Successor,
        Rotated::Reused => Seen::Reused,
        Rotated::Refused => Seen::Refused,
    }
}

/// The name comes back as registered, with id and password hash.
pub async fn a_created_account_is_found_without_case(fixture: &Fixture) {
    let account = new_account();
    assert_eq!(fixture.accounts.create(account.clone()).await.unwrap(), AccountCreated::Created);
    let name = account.username.as_str();
    for written in [name.to_owned(), name.to_lowercase(), name.to_uppercase()] {
        let found = fixture.accounts.find(&written).await.unwrap().expect("it exists");
        assert_eq!((found.user, &*found.username), (account.user, name));
        assert_eq!(found.password_hash, account.password_hash);
    }
    assert_eq!(fixture.accounts.username(account.user).await.unwrap().as_deref(), Some(name));
}

/// The second one is told so, and the first keeps its account.
pub async fn a_name_is_taken_in_every_case(fixture: &Fixture) {
    let first = new_account();
    fixture.accounts.create(first.clone()).await.unwrap();
    let name = first.username.as_str();
    for written in [name.to_owned(), name.to_lowercase(), name.to_uppercase()] {
        let second = NewAccount { user: user_id(), username: Username::parse(&written).unwrap(), ..new_account() };
        let stranger = second.user;
        assert_eq!(fixture.accounts.create(second).await.unwrap(), AccountCreated::UsernameTaken);
        assert_eq!(fixture.accounts.username(stranger).await.unwrap(), None);
    }
    assert_eq!(fixture.accounts.find(name).await.unwrap().unwrap().user, first.user);
}

/// Of eight at once one gets the name.
pub async fn racing_registrations_give_one_account(fixture: &Fixture) {
    let username = new_account().username;
    let racers = (0..8).map(|_| {
        let (accounts, username) = (Arc::clone(&fixture.accounts), username.clone());
        let account = NewAccount { username, ..new_account() };
        tokio::spawn(async move { (account.user, accounts.create(account).await.expect("create")) })
    });
    let mut created = Vec::new();
    for racer in racers.collect::<Vec<_>>() {
        let (user, outcome) = racer.await.expect("a racer");
        if outcome == AccountCreated::Created {
            created.push(user);
        }
    }
    let found = fixture.accounts.find(username.as_str()).await.unwrap().expect("somebody got it").user;
    assert_eq!(created, [found]);
}

/// Also for what is no name at all.
pub async fn nobody_is_found_for_an_unknown_name(fixture: &Fixture) {
    let long = "x".repeat(10_000);
    for name in ["", "nobody.of.that.name", "%", "_", "' OR 1=1 --", "Ünbekannt", &long] {
        assert!(fixture.accounts.find(name).await.unwrap().is_none(), "{name:?}");
    }
    assert_eq!(fixture.accounts.username(user_id()).await.unwrap(), None);
}

/// A chain of rotations, each with whose session it is.
pub async fn a_rotation_gives_a_successor(fixture: &Fixture) {
    let (player, session, mut current) = session(fixture).await;
    for hour in 1..5 {
        let successor = token();
        let rotation = rotation(session, current, successor, noon().plus_millis(hour * HOUR_MS));
        let Rotated::Successor { user, username } = fixture.accounts.rotate(rotation).await.unwrap() else {
            panic!("rotation {hour} gave no successor")
        };
        assert_eq!((user, username), (player.user, Arc::clone(&player.username)));
        current = successor;
    }
}

/// A lost answer: the token before is shown again within the grace, and the successor stays the one there is.
pub async fn the_previous_token_in_its_grace_gives_no_second_chain(fixture: &Fixture) {
    let (_, session, first) = session(fixture).await;
    let (second, third, now) = (token(), token(), noon().plus_millis(HOUR_MS));
    assert_eq!(rotate(fixture, rotation(session, first, second, now)).await, Seen::Successor);
    let later = now.plus_millis(GRACE_MS - 1);
    assert_eq!(rotate(fixture, rotation(session, first, second, later)).await, Seen::Successor);
    assert_eq!(rotate(fixture, rotation(session, second, third, later)).await, Seen::Successor, "still the one");
}

/// After the grace it is theft: the session's good token stops working too, and nodes are told.
pub async fn the_previous_token_after_its_grace_ends_the_session(fixture: &Fixture) {
    let (_, session, first) = session(fixture).await;
    let (second, now) = (token(), noon().plus_millis(HOUR_MS));
    assert_eq!(rotate(fixture, rotation(session, first, second, now)).await, Seen::Successor);
    let later = now.plus_millis(GRACE_MS + 1);
    assert_eq!(rotate(fixture, rotation(session, first, token(), later)).await, Seen::Reused);
    assert_eq!(rotate(fixture, rotation(session, second, token(), later)).await, Seen::Refused);
    let revocations = fixture.accounts.revocations(later).await.unwrap();
    assert!(revocations.contains(&Revocation { session, revoked_at: later }), "nodes hear of it");
}

/// The grace is for the previous token only.
pub async fn an_older_token_ends_the_session(fixture: &Fixture) {
    let (_, session, first) = session(fixture).await;
    let (second, third, now) = (token(), token(), noon().plus_millis(HOUR_MS));
    assert_eq!(rotate(fixture, rotation(session, first, second, now)).await, Seen::Successor);
    assert_eq!(rotate(fixture, rotation(session, second, third, now.plus_millis(1))).await, Seen::Successor);
    assert_eq!(rotate(fixture, rotation(session, first, token(), now.plus_millis(2))).await, Seen::Reused);
    assert_eq!(rotate(fixture, rotation(session, third, token(), now.plus_millis(3))).await, Seen::Refused);
}

/// Eight exchanges of one token at once make one chain.
pub async fn racing_rotations_get_the_same_successor(fixture: &Fixture) {
    let (_, session, first) = session(fixture).await;
    let (second, now) = (token(), noon().plus_millis(HOUR_MS));
    let racers = (0..8).map(|_| {
        let accounts = Arc::clone(&fixture.accounts);
        tokio::spawn(async move { accounts.rotate(rotation(session, first, second, now)).await.expect("rotate") })
    });
    for racer in racers.collect::<Vec<_>>() {
        assert!(matches!(racer.await.expect("a racer"), Rotated::Successor { .. }));
    }
    assert_eq!(rotate(fixture, rotation(session, second, token(), now.plus_millis(1))).await, Seen::Successor);
}

/// Auth asks about a token only after its MAC said that auth made it for this session: one that is neither the newest nor
/// the one before is from the session's past. A session that never was is refused and ends nothing.
pub async fn an_unknown_token_of_a_live_session_is_reuse(fixture: &Fixture) {
    let (_, session_a, first) = session(fixture).await;
    let now = noon().plus_millis(HOUR_MS);
    assert_eq!(rotate(fixture, rotation(session_id(), first, token(), now)).await, Seen::Refused);
    assert_eq!(rotate(fixture, rotation(session_a, token(), token(), now)).await, Seen::Reused);
    assert_eq!(rotate(fixture, rotation(session_a, first, token(), now)).await, Seen::Refused);
}

/// The successor's own time counts from its rotation.
pub async fn an_expired_session_is_refused(fixture: &Fixture) {
    let (_, session_a, first) = session(fixture).await;
    let late = noon().plus_millis(DAY_MS + 1);
    assert_eq!(rotate(fixture, rotation(session_a, first, token(), late)).await, Seen::Refused);
    let (_, session_b, first) = session(fixture).await;
    let (second, in_time) = (token(), noon().plus_millis(DAY_MS - 1));
    assert_eq!(rotate(fixture, rotation(session_b, first, second, in_time)).await, Seen::Successor);
    assert_eq!(rotate(fixture, rotation(session_b, second, token(), late)).await, Seen::Successor);
}

/// Ending it works once; after that nothing else does.
pub async fn a_revoked_session_is_over(fixture: &Fixture) {
    let (_, session, first) = session(fixture).await;
    let now = noon().plus_millis(HOUR_MS);
    assert!(fixture.accounts.revoke(session, now).await.unwrap());
    assert!(!fixture.accounts.revoke(session, now.plus_millis(1)).await.unwrap(), "ended before");
    assert!(!fixture.accounts.revoke(session_id(), now).await.unwrap(), "unknown");
    assert_eq!(rotate(fixture, rotation(session, first, token(), now)).await, Seen::Refused);
}

/// At or after the moment asked for, each with when it was ended.
pub async fn revocations_are_told_from_a_moment_on(fixture: &Fixture) {
    let (_, early, _) = session(fixture).await;
    let (_, late, _) = session(fixture).await;
    let (_, alive, _) = session(fixture).await;
    let (at, later) = (noon().plus_millis(HOUR_MS), noon().plus_millis(HOUR_MS + 1));
    fixture.accounts.revoke(early, at).await.unwrap();
    fixture.accounts.revoke(late, later).await.unwrap();
    let told = async |since: Timestamp| {
        let all = fixture.accounts.revocations(since).await.unwrap();
        [early, late, alive].map(|session| all.iter().find(|r| r.session == session).map(|r| r.revoked_at))
    };
    assert_eq!(told(noon()).await, [Some(at), Some(later), None]);
    assert_eq!(told(at).await, [Some(at), Some(later), None]);
    assert_eq!(told(later).await, [None, Some(later), None]);
    assert_eq!(told(later.plus_millis(1)).await, [None, None, None]);
}

async fn password_hash(fixture: &Fixture, player: &Player) -> String {
    fixture.accounts.find(&player.username).await.unwrap().expect("it exists").password_hash
}

/// The new hash is what login reads, the session that is kept goes on, and nodes are told of the others.
pub async fn a_changed_password_ends_all_other_sessions(fixture: &Fixture) {
    let (player, keep, first) = session(fixture).await;
    let (_, stranger, strangers_first) = session(fixture).await;
    let others = [open(fixture, player.user, noon()).await.0, open(fixture, player.user, noon()).await.0];
    let ended_before = open(fixture, player.user, noon()).await.0;
    fixture.accounts.revoke(ended_before, noon()).await.unwrap();
    let now = noon().plus_millis(HOUR_MS);
    let change = PasswordChange {
        user: player.user,
        from_hash: password_hash(fixture, &player).await,
        to_hash: "$another".to_owned(),
        keep,
        now,
    };
    let ended = fixture.accounts.change_password(change).await.unwrap().expect("it was changed");
    assert_eq!(sorted(ended), sorted(others.to_vec()));
    assert_eq!(password_hash(fixture, &player).await, "$another");
    let revocations = fixture.accounts.revocations(now).await.unwrap();
    for other in others {
        assert!(revocations.contains(&Revocation { session: other, revoked_at: now }));
    }
    assert_eq!(rotate(fixture, rotation(keep, first, token(), now)).await, Seen::Successor);
    assert_eq!(rotate(fixture, rotation(stranger, strangers_first, token(), now)).await, Seen::Successor);
}

/// Whoever compared with an older one changes nothing.
pub async fn a_password_is_changed_from_the_one_that_was_compared(fixture: &Fixture) {
    let (player, keep, _) = session(fixture).await;
    let (other, first) = open(fixture, player.user, noon()).await;
    let before = password_hash(fixture, &player).await;
    for (user, from_hash) in [(player.user, "$outdated".to_owned()), (user_id(), before.clone())] {
        let change = PasswordChange { user, from_hash, to_hash: "$mine".to_owned(), keep, now: noon() };
        assert_eq!(fixture.accounts.change_password(change).await.unwrap(), None);
    }
    assert_eq!(password_hash(fixture, &player).await, before);
    assert_eq!(rotate(fixture, rotation(other, first, token(), noon())).await, Seen::Successor);
}

/// Eight at once from the same password: the one that says so is the one that is read.
pub async fn of_racing_changes_of_a_password_one_happens(fixture: &Fixture) {
    let (player, keep, _) = session(fixture).await;
    let from_hash = password_hash(fixture, &player).await;
    let racers = (0..8).map(|n| {
        let accounts = Arc::clone(&fixture.accounts);
        let to_hash = format!("$new-{n}");
        let change = PasswordChange {
            user: player.user,
            from_hash: from_hash.clone(),
            to_hash: to_hash.clone(),
            keep,
            now: noon(),
        };
        tokio::spawn(async move { accounts.change_password(change).await.expect("change_password").map(|_| to_hash) })
    });
    let mut changed = Vec::new();
    for racer in racers.collect::<Vec<_>>() {
        changed.extend(racer.await.expect("a racer"));
    }
    assert_eq!(changed, [password_hash(fixture, &player).await]);
}

/// A login that compared the password before it was changed, and opens its session before, while or after.
pub async fn no_session_outlives_the_password_that_opened_it(fixture: &Fixture) {
    for round in 0..20 {
        let (player, keep, _) = session(fixture).await;
        let from_hash = password_hash(fixture, &player).await;
        let change =
            PasswordChange { user: player.user, from_hash, to_hash: format!("$new-{round}"), keep, now: noon() };
        let logins: Vec<_> = (0..4).map(|_| login(session_id(), token(), player.user, noon())).collect();
        let open = logins.iter().map(|login| {
            let (accounts, login) = (Arc::clone(&fixture.accounts), login.clone());
            tokio::spawn(async move { accounts.open_session(login).await.expect("open_session") })
        });
        let open: Vec<_> = open.collect();
        let ended = fixture.accounts.change_password(change).await.unwrap().expect("it was changed");
        for (login, open) in logins.iter().zip(open) {
            assert_eq!(open.await.unwrap(), ended.contains(&login.session), "opened, and not ended");
        }
        let late = login(session_id(), token(), player.user, noon());
        assert!(!fixture.accounts.open_session(late).await.unwrap(), "the old password opens nothing any more");
        assert_eq!(fixture.accounts.sessions(player.user, noon()).await.unwrap().len(), 1, "the one that was kept");
    }
    let nobody = login(session_id(), token(), user_id(), noon());
    assert!(!fixture.accounts.open_session(nobody).await.unwrap());
}

/// Once; a second time there is nothing left to end.
pub async fn all_sessions_of_a_user_end_and_nobody_elses(fixture: &Fixture) {
    let (player, one, first) = session(fixture).await;
    let (_, stranger, strangers_first) = session(fixture).await;
    let other = open(fixture, player.user, noon()).await.0;
    let now = noon().plus_millis(HOUR_MS);
    let ended = fixture.accounts.revoke_all(player.user, now).await.unwrap();
    assert_eq!(sorted(ended), sorted(vec![one, other]));
    assert_eq!(rotate(fixture, rotation(one, first, token(), now)).await, Seen::Refused);
    assert_eq!(rotate(fixture, rotation(stranger, strangers_first, token(), now)).await, Seen::Successor);
    let told = fixture.accounts.revocations(now).await.unwrap();
    assert!([one, other].iter().all(|&session| told.contains(&Revocation { session, revoked_at: now })));
    assert_eq!(fixture.accounts.revoke_all(player.user, now.plus_millis(1)).await.unwrap(), []);
    assert_eq!(fixture.accounts.revoke_all(user_id(), now).await.unwrap(), []);
}

/// The newest first; ended and expired ones are not among them.
pub async fn open_sessions_are_listed_with_their_times(fixture: &Fixture) {
    let (player, old, first) = session(fixture).await;
    let hour = noon().plus_millis(HOUR_MS);
    let (new, _) = open(fixture, player.user, hour).await;
    let (ended, _) = open(fixture, player.user, hour).await;
    fixture.accounts.revoke(ended, hour).await.unwrap();
    let used = noon().plus_millis(2 * HOUR_MS);
    assert_eq!(rotate(fixture, rotation(old, first, token(), used)).await, Seen::Successor);
    let list = async |now: Timestamp| fixture.accounts.sessions(player.user, now).await.unwrap();
    let (newer, older) = (
        OpenSession { session: new, created_at: hour, last_used_at: hour, expires_at: hour.plus_millis(DAY_MS) },
        OpenSession { session: old, created_at: noon(), last_used_at: used, expires_at: used.plus_millis(DAY_MS) },
    );
    assert_eq!(list(used).await, [newer, older]);
    assert_eq!(list(hour.plus_millis(DAY_MS)).await, [older], "the newer one has expired");
    assert_eq!(list(used.plus_millis(DAY_MS)).await, []);
    assert_eq!(fixture.accounts.sessions(user_id(), used).await.unwrap(), []);
}
