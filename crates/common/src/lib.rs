//! The domain of a leaderboard and the ports that services see.
//!
//! Pure: no I/O, no clock, no randomness, no driver. Time and identifiers come in as parameters, so that
//! everything here can be tested by model and replayed exactly.
//!
//! Data flows one way through these types:
//!
//! ```text
//! ScoreUpdate ──(ledger: decision::decide in one transaction)──▶ Outcome + BoardChange
//!                                                                      │
//!                     RankIndex ◀── projection moves from `from` to `to` ┤
//!                     TopWindow ◀── the visible top of a board ──────────┘
//! ```
//!
//! **A new backend** implements the traits of [`ports`] in a crate of its own, passes the contract suites of
//! `testkit`, and is chosen by a composition root; no service changes.

pub mod account;
pub mod board;
pub mod clock;
pub mod decision;
pub mod error_code;
pub mod ids;
pub mod ports;
pub mod rate_limit;
pub mod receipt;
pub mod score_update;
pub mod signature;
pub mod standing;
pub mod state;
pub mod top_window;
