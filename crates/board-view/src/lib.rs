//! The visible top of every board, followed from events and checked against the truth: what a gateway answers `/top`
//! from and what a fan-out node shows on its sockets.
//!
//! Events bring a view forward within milliseconds; twice a second the heads of all boards are asked for, so that
//! a change is visible within a second even with every event lost. A view never goes back within an epoch. While
//! the truth is away, views keep what they have and say that they are stale.

mod follower;
mod metrics;
mod moves;
mod recent;
mod view;
mod views;

pub use moves::{Move, moves};
pub use view::{Lookup, View};
pub use views::{BoardViews, ViewSettings};
