//! The visible top of every board and the rules of all boards, in the memory of one node, followed from events.
//!
//! Events move a view from `from` to `to`; whatever does not fit is repaired from the truth. The truth's heads are
//! asked for twice a second, so that a change is visible within a second even if every event is lost.

mod follower;
mod metrics;
mod views;

pub use views::{BoardViews, View, ViewSettings};
