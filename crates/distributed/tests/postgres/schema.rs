//! The schema, and whether every statement fits it.

use common::board::{Board, built_in_rules};
use common::decision::{BoardWatch, Watch};
use common::ids::BoardId;
use common::ports::{BoardRules, Dependency, Ledger, Reviews, Truth};
use common::receipt::Outcome;
use common::score_update::ScoreUpdate;
use common::state::Version;
use distributed::postgres::{Report, migrate, statements};

use testkit::fixtures::{noon, players, update};

use crate::database::{Database, store};

#[tokio::test]
async fn every_statement_prepares_on_a_migrated_database() {
    let database = Database::migrated().await;
    let client = database.operator().await;
    for (name, sql) in statements::ALL {
        client.prepare(sql).await.unwrap_or_else(|error| panic!("{name}: {:?}", error.as_db_error()));
    }
}

#[tokio::test]
async fn no_look_up_reads_a_whole_table() {
    let database = Database::migrated().await;
    let client = database.operator().await;
    // As the pool's connections are set up, and with the plan that is kept for any parameters.
    client
        .batch_execute("SET enable_seqscan = off; SET jit = off; SET plan_cache_mode = force_generic_plan")
        .await
        .unwrap();
    // These read small tables whole, or are meant to be slow.
    let whole = [
        "BOARDS",
        "HEADS",
        "STANDING",
        "SCHEMA",
        "DIGEST",
        "DEVIATIONS",
        "LIST_ISSUER_KEYS",
        "ACTIVE_ISSUER_KEYS",
        // All that was ever held, by an index of nothing else.
        "HELD",
        "HELD_ONE",
        "AUDIT_ACTION",
        // Every ten minutes, by one process: an index for it would cost each login and each update.
        "FORGET_SESSIONS",
        "FORGET_DAILY_SUMS",
    ];
    for (name, sql) in statements::ALL.iter().filter(|(name, _)| !whole.contains(name)) {
        let params = vec!["NULL"; client.prepare(sql).await.unwrap().params().len()].join(", ");
        client.batch_execute(&format!("PREPARE {name} AS {sql}")).await.unwrap();
        let rows = client.query(&format!("EXPLAIN (COSTS OFF) EXECUTE {name} ({params})"), &[]).await.unwrap();
        let plan: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        let plan = plan.join("\n");
        for bad in ["Seq Scan", "Hash Join", "Merge Join"] {
            assert!(!plan.contains(bad), "{name} has a {bad}:\n{plan}");
        }
        // A scan over an index is bounded by a condition on it.
        let (scans, conditions) = (plan.matches("Scan using").count(), plan.matches("Index Cond").count());
        assert!(conditions >= scans, "{name} walks an index without a condition:\n{plan}");
    }
}

#[tokio::test]
async fn migrations_that_race_take_turns_and_one_does_the_work() {
    let database = Database::empty().await;
    let (a, b, c) = tokio::join!(migrate(&database.url), migrate(&database.url), migrate(&database.url));
    let reports = [a.unwrap(), b.unwrap(), c.unwrap()];
    let working: Vec<&Report> = reports.iter().filter(|report| !report.applied.is_empty()).collect();
    assert_eq!(working.len(), 1, "{reports:?}");
    assert_eq!(working[0].applied[0], "V1__ledger_and_accounts");
    assert!(reports.iter().all(|report| report.schema == working[0].schema), "{reports:?}");
}

#[tokio::test]
async fn a_schema_of_a_newer_binary_is_left_alone_and_a_foreign_one_is_refused() {
    let database = Database::migrated().await;
    let client = database.operator().await;
    client
        .batch_execute("INSERT INTO refinery_schema_history VALUES (999, 'later', '2030-01-01T00:00:00Z', '1')")
        .await
        .unwrap();
    assert_eq!(migrate(&database.url).await.unwrap(), Report { applied: vec![], schema: 999 });
    database.store().check().await.unwrap();
    client.batch_execute("UPDATE refinery_schema_history SET checksum = '7' WHERE version = 1").await.unwrap();
    assert!(migrate(&database.url).await.is_err());
}

/// A rollout migrates first or last: this binary works on the schema before its own, the one before it on ours.
#[tokio::test]
async fn this_binary_works_on_schema_1_and_the_one_before_on_schema_2() {
    const V1: &str = include_str!("../../../../migrations/postgres/V1__ledger_and_accounts.sql");
    const V2: &str = include_str!("../../../../migrations/postgres/V2__audit_and_quarantine.sql");
    let database = Database::empty().await;
    let client = database.operator().await;
    client.batch_execute(V1).await.unwrap();
    let history = "CREATE TABLE refinery_schema_history (version int4 PRIMARY KEY);
        INSERT INTO refinery_schema_history VALUES (1)";
    client.batch_execute(history).await.unwrap();
    let store = database.store();
    store.check().await.unwrap();
    let user = players(&store, 1).await.remove(0).user;
    let nothing = BoardWatch { limit: 0, ..BoardWatch::default() };
    let watch = Watch { boards: [(BoardId::global(), nothing)].into() };
    let decide = async |update: ScoreUpdate| {
        store.apply_watched(std::slice::from_ref(&update), &watch, noon()).await.unwrap().outcomes.remove(0)
    };
    // Nothing can be held there, so nothing is; who watches is told of no gains.
    assert!(matches!(decide(update(user, "a").key("a").build()).await, Outcome::Applied { replayed: false, .. }));
    assert!(matches!(decide(update(user, "a").key("a").build()).await, Outcome::Applied { replayed: true, .. }));
    let (before, after) = (noon().plus_millis(-1), noon());
    assert!(store.gains(before, after, 1000).await.unwrap().is_empty());
    assert!(!store.boards().await.unwrap()[0].stream_token);
    assert!(store.receipt(user, &BoardId::global(), &update(user, "a").build().action_id).await.unwrap().is_some());

    client.batch_execute(V2).await.unwrap();
    client.batch_execute("INSERT INTO refinery_schema_history VALUES (2)").await.unwrap();
    // The same process goes on, and holds from now on.
    assert!(store.set_stream_token(&BoardId::global(), true).await.unwrap());
    assert!(store.boards().await.unwrap()[0].stream_token);
    let held = update(user, "b").build();
    assert!(matches!(decide(held.clone()).await, Outcome::Quarantined { .. }));
    assert_eq!(store.gains(before, after, 1000).await.unwrap().len(), 1);
    assert_eq!(store.held(10).await.unwrap().len(), 1);
    // The statement of the binary before.
    let old = statements::ALL.iter().find(|(name, _)| *name == "WRITE_LEDGER_V1").expect("it is kept").1;
    let (uuid, hash, now) = (uuid::Uuid::new_v4(), vec![7_u8; 32], "2026-11-20T12:00:00Z");
    let literal = old
        .replace("$15::timestamptz", &format!("'{now}'::timestamptz"))
        .replace("$13::timestamptz[]", &format!("'{{{now}}}'::timestamptz[]"));
    let literal = literal.replace("$14::", "$13::");
    let none: Vec<Option<String>> = vec![None];
    let number: Vec<Option<i64>> = vec![Some(9)];
    client
        .execute(
            &literal,
            &[
                &vec![user.0],
                &vec![uuid],
                &vec!["global"],
                &vec!["old"],
                &vec!["default"],
                &vec![1_i64],
                &vec!["session"],
                &none,
                &vec![hash],
                &vec!["applied"],
                &number,
                &number,
                &vec!["request"],
            ],
        )
        .await
        .unwrap();
}

#[tokio::test]
async fn global_is_born_with_the_built_in_rules_and_an_epoch_of_its_own() {
    let (_database, store) = store().await;
    let (_other, other_store) = crate::database::store().await;
    let boards = store.boards().await.unwrap();
    let [Board { head, stream_token: false, rules }] = &boards[..] else { panic!("one board: {boards:?}") };
    assert_eq!(head.board, BoardId::global());
    assert_eq!(head.state.version, Version::ZERO);
    assert_eq!(*rules, built_in_rules());
    assert_ne!(head.state.epoch, other_store.heads().await.unwrap()[0].state.epoch);
}

#[tokio::test]
async fn readiness_says_what_is_wrong_and_what_to_do() {
    let empty = Database::empty().await;
    let words = empty.store().check().await.unwrap_err();
    assert!(words.contains("scoreboard migrate"), "{words}");

    let database = Database::migrated().await;
    database.store().check().await.unwrap();
    let read_only = format!("{}?options=-c%20default_transaction_read_only%3Don", database.url);
    let words = database.store_with(|settings| settings.url = read_only).check().await.unwrap_err();
    assert!(words.contains("no writes"), "{words}");
    database.operator().await.batch_execute("DELETE FROM refinery_schema_history").await.unwrap();
    let words = database.store().check().await.unwrap_err();
    assert!(words.contains("empty"), "{words}");

    let away = database.store_with(|settings| settings.url = "postgres://u:geheim@127.0.0.1:1/d".to_owned());
    let words = away.check().await.unwrap_err();
    assert!(words.contains("not available") && words.contains("refused") && !words.contains("geheim"), "{words}");
    assert_eq!((away.name(), away.setting()), ("postgresql", "SCOREBOARD__DATABASE__URL"));
}
