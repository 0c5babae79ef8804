//! How long an idle instance stays where nobody says: about as long as it took to come. Pure.

use jiff::{SignedDuration, Timestamp};

/// Shorter, and an instance would go between two jobs of one build.
const LEAST: SignedDuration = SignedDuration::from_secs(10);

/// Longer is not what a boot costs: something held this one up.
const MOST: SignedDuration = SignedDuration::from_mins(10);

/// Where no boot was measured.
const UNMEASURED: SignedDuration = SignedDuration::from_mins(1);

/// As long as the launching hook waits: what took longer was not one boot.
const LONGEST_BOOT: SignedDuration = SignedDuration::from_mins(15);

/// How long an instance stays idle that took `boot` from its launch to its agents: four fifths of that. Staying as long
/// as a boot takes costs what coming back does; a little less is cheapest where jobs come all day (docs/benchmarks.md).
#[must_use]
pub fn period(boot: Option<SignedDuration>) -> SignedDuration {
    boot.map_or(UNMEASURED, |boot| (boot.saturating_mul(4) / 5).clamp(LEAST, MOST))
}

/// The boot of a machine whose agents start `now`; none where its launch is not known, or cannot have been that.
#[must_use]
pub fn boot(launched: Option<Timestamp>, now: Timestamp) -> Option<SignedDuration> {
    let boot = now.duration_since(launched?);
    (SignedDuration::ZERO..=LONGEST_BOOT).contains(&boot).then_some(boot)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_instance_stays_for_four_fifths_of_its_boot_within_limits() {
        let seconds = |boot: Option<i64>| period(boot.map(SignedDuration::from_secs)).as_secs_f64();
        for (boot, idle) in [
            (None, 60.0),
            (Some(0), 10.0),
            (Some(12), 10.0),
            (Some(13), 10.4),
            (Some(40), 32.0),
            (Some(300), 240.0),
            (Some(750), 600.0),
            (Some(900), 600.0),
            (Some(i64::MAX), 600.0),
            (Some(-1), 10.0),
        ] {
            assert!((seconds(boot) - idle).abs() < 1e-9, "{boot:?}: {}", seconds(boot));
        }
    }

    #[test]
    fn a_boot_is_from_the_launch_to_the_agents_if_it_can_be_one() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let measured = |launched: Option<i64>, now| boot(launched.map(at), at(now)).map(|b| b.as_secs());
        assert_eq!(measured(Some(100), 141), Some(41));
        assert_eq!(measured(Some(100), 100), Some(0));
        assert_eq!(measured(Some(100), 1000), Some(900));
        assert_eq!(measured(None, 141), None, "nobody told");
        assert_eq!(measured(Some(100), 1001), None, "a reboot, or hours in a warm pool");
        assert_eq!(measured(Some(100), 99), None, "a clock is wrong");
    }

    proptest! {
        /// Who takes longer to come stays longer, and nobody longer than coming back would take, shortest stay apart.
        #[test]
        fn a_longer_boot_never_means_a_shorter_stay(a in -1000i64..100_000_000, b in -1000i64..100_000_000) {
            let of = |ms| period(Some(SignedDuration::from_millis(ms)));
            let (shorter, longer) = (a.min(b), a.max(b));
            prop_assert!(of(shorter) <= of(longer));
            prop_assert!((LEAST..=MOST).contains(&of(a)));
            prop_assert!(of(a) <= SignedDuration::from_millis(a).max(LEAST));
        }
    }
}
