//! What every backend of a port must do. Each case is a function of its own, so that a failure has its name;
//! the suite's macro makes a test of each.

pub mod accounts;
pub mod board_rules;
pub mod event_bus;
pub mod guard;
pub mod housekeeping;
pub mod issuer_keys;
pub mod ledger_and_truth;
pub mod pending_marks;
pub mod profiles;
pub mod queue;
pub mod rank_index;

/// Expands into a module `<suite>_contract` with one test for each case of a suite. The suites' own macros
/// (`testkit::rank_index_contract!(fixture)` and so on) are what a backend's test calls; `fixture` is the path of an
/// async function without parameters that gives the suite's `Fixture`.
#[macro_export]
macro_rules! contract_tests {
    ($suite:ident as $module:ident, $fixture:path, [$($case:ident),+ $(,)?]) => {
        mod $module {
            #[allow(unused_imports)]
            use super::*;
            $(
                #[test]
                fn $case() {
                    $crate::run_case(async { $crate::contract::$suite::$case(&$fixture().await).await });
                }
            )+
        }
    };
}
