//! After several crashes in a short time nothing is looked into any more, neither what comes in nor what is shown.

use store_lib::{Crash, Store, UnixSeconds};

/// So many crashes.
const CRASHES: usize = 3;

/// Within so many seconds, counted back from now: the mode ends by itself when the account has been well for so long.
const WITHIN: i64 = 600;

/// Whether the account is in safe mode now; the store is told.
pub(crate) fn look(store: &Store, now: UnixSeconds) -> bool {
    let on = is_on(&store.crashes(), now);
    store.handle_raw(on);
    on
}

fn is_on(crashes: &[Crash], now: UnixSeconds) -> bool {
    // A clock that went back makes a crash of the future: it counts until the clock is there again.
    crashes.iter().filter(|crash| now.0.saturating_sub(crash.at.0) < WITHIN).count() >= CRASHES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_crashes_in_ten_minutes_turn_it_on_until_ten_minutes_without() {
        let crashes = |at: &[i64]| -> Vec<Crash> {
            at.iter().map(|at| Crash { at: UnixSeconds(*at), parsing: false }).collect()
        };
        for (at, now, on, reason) in [
            (&[][..], 10_000, false, "never crashed"),
            (&[9_900, 9_950], 10_000, false, "two are bad luck"),
            (&[9_500, 9_900, 9_950], 10_000, true, "three in ten minutes"),
            (&[9_000, 9_900, 9_950], 10_000, false, "three, but not in ten minutes"),
            (&[9_500, 9_900, 9_950], 10_200, false, "the oldest is forgotten"),
            (&[9_000, 9_100, 9_500, 9_900, 9_950], 10_000, true, "older ones do not matter"),
        ] {
            assert_eq!(is_on(&crashes(at), UnixSeconds(now)), on, "{reason}");
        }
    }
}
