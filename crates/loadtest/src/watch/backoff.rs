//! When a lost socket comes back: the rules of our client library in `web/`.

/// The first wait, milliseconds.
const BASE_MS: u64 = 500;
/// The longest.
const CAP_MS: u64 = 15_000;
/// However long a server asks to wait, milliseconds.
const BYE_CAP_MS: u64 = 120_000;

/// Milliseconds before the attempt after `failures` failed ones. What the server's goodbye asked for holds for the first
/// attempt; else the step doubles up to the cap, half of it by `luck` (0 to 1).
pub(crate) fn wait_ms(bye_ms: Option<u64>, failures: u32, luck: f64) -> u64 {
    if let Some(asked) = bye_ms {
        return asked.min(BYE_CAP_MS);
    }
    let step = CAP_MS.min(BASE_MS.saturating_mul(1 << failures.min(30)));
    let half = step as f64 / 2.0;
    (half + half * luck.clamp(0.0, 1.0)).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_wish_is_followed() {
        assert_eq!(wait_ms(Some(1_234), 0, 0.9), 1_234);
        assert_eq!(wait_ms(Some(u64::MAX), 0, 0.9), BYE_CAP_MS);
    }

    #[test]
    fn steps_double_up_to_the_cap_and_are_spread() {
        assert_eq!((wait_ms(None, 0, 0.0), wait_ms(None, 0, 1.0)), (250, 500));
        assert_eq!((wait_ms(None, 3, 0.0), wait_ms(None, 3, 1.0)), (2_000, 4_000));
        assert_eq!((wait_ms(None, 99, 0.0), wait_ms(None, 99, 1.0)), (7_500, 15_000));
    }
}
