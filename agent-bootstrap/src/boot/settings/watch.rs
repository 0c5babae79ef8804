//! What `watch` goes by.

use std::time::Duration;

use jiff::SignedDuration;
use lifecycle::idle;
use serde::{Deserialize, Serialize};

use super::Stay;
use super::reader::Reader;

/// What `watch` goes by; kept in the instance file. A field that an older boot did not write has its default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct WatchSettings {
    /// How long all agents are idle before protection drops.
    pub idle_period: Stay,
    /// Time from one look to the next.
    pub poll_interval: SignedDuration,
    /// How long the instance is idle before it retires itself because no scaler acts.
    pub fail_safe_after: Stay,
    /// The group's terminating lifecycle hook, if it has one.
    pub terminating_hook: Option<String>,
    /// Time from one heartbeat of that hook to the next.
    pub heartbeat_interval: SignedDuration,
    /// Time from one look for a newer launch template or changed settings to the next.
    pub update_check: SignedDuration,
    /// How many instances of the group may be away at once for an update.
    pub update_concurrency: u32,
    /// Age at which the instance makes room for a successor; `None` is never.
    pub max_age: Option<SignedDuration>,
    /// Every job gets a fresh instance (`disconnect-after-job`).
    pub after_job: bool,
    /// A rebalance recommendation drains the instance.
    pub drain_on_rebalance: bool,
    /// Running jobs are cancelled when so much is left until EC2 takes the spot instance back.
    pub spot_grace: SignedDuration,
}

impl Default for WatchSettings {
    fn default() -> Self {
        Self {
            idle_period: Stay::Auto,
            poll_interval: SignedDuration::from_secs(1),
            fail_safe_after: Stay::Auto,
            terminating_hook: None,
            heartbeat_interval: SignedDuration::from_mins(5),
            update_check: SignedDuration::from_mins(1),
            update_concurrency: 1,
            max_age: None,
            after_job: false,
            drain_on_rebalance: false,
            spot_grace: SignedDuration::from_mins(1),
        }
    }
}

impl WatchSettings {
    /// How long all agents of an instance with this boot are idle before protection drops; `None` is never.
    #[must_use]
    pub fn idle_period(&self, boot: Option<SignedDuration>) -> Option<SignedDuration> {
        self.idle_period.or(|| Some(idle::period(boot)))
    }

    /// How long it is idle before it retires itself; `None` is never. By itself long after a scaler would have taken it.
    #[must_use]
    pub fn fail_safe_after(&self, boot: Option<SignedDuration>) -> Option<SignedDuration> {
        let long =
            |idle: SignedDuration| idle.saturating_mul(3).saturating_add(SignedDuration::from_mins(10));
        self.fail_safe_after.or(|| self.idle_period(boot).map(long))
    }
}

/// Anything shorter is a slip.
const SHORTEST: Duration = Duration::from_millis(10);

pub(super) fn read(reader: &mut Reader, after_job: bool) -> WatchSettings {
    let usual = WatchSettings::default();
    let max_age = reader.period_or_never("max-age", usual.max_age);
    if max_age.is_some_and(|age| age.unsigned_abs() < SHORTEST) {
        reader.fault("max-age", "is no age to live to; `never` sets no limit");
    }
    let concurrency = reader.number("update-concurrency", usual.update_concurrency.into(), 1..=1000);
    WatchSettings {
        idle_period: reader.stay("idle-period"),
        fail_safe_after: reader.stay("fail-safe-after"),
        poll_interval: reader.period("poll-interval", usual.poll_interval, SHORTEST),
        heartbeat_interval: reader.period("heartbeat-interval", usual.heartbeat_interval, SHORTEST),
        update_check: reader.period("update-check", usual.update_check, SHORTEST),
        update_concurrency: u32::try_from(concurrency).unwrap_or(1),
        terminating_hook: reader.text("terminating-hook"),
        max_age,
        after_job,
        drain_on_rebalance: reader.flag("drain-on-rebalance").unwrap_or(usual.drain_on_rebalance),
        spot_grace: reader.period("spot-grace", usual.spot_grace, SHORTEST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECONDS: [Option<i64>; 3] = [None, Some(12), Some(40)];

    /// The idle period and the fail-safe after boots of [`SECONDS`], in seconds.
    fn by_boot(idle_period: Stay, fail_safe_after: Stay) -> [[Option<i64>; 3]; 2] {
        let watch = WatchSettings { idle_period, fail_safe_after, ..WatchSettings::default() };
        let boots = SECONDS.map(|boot| boot.map(SignedDuration::from_secs));
        let seconds = |period: Option<SignedDuration>| period.map(|period| period.as_secs());
        [
            boots.map(|boot| seconds(watch.idle_period(boot))),
            boots.map(|boot| seconds(watch.fail_safe_after(boot))),
        ]
    }

    #[test]
    fn what_is_not_named_follows_the_boot_and_what_is_named_does_not() {
        let (auto, never, five) = (Stay::Auto, Stay::Never, Stay::For(SignedDuration::from_mins(5)));
        let all = |period| [period; 3];
        let by = [Some(60), Some(10), Some(32)];
        let (unnamed, named, none) = ([Some(780), Some(630), Some(696)], all(Some(300)), all(None));
        for (idle, fail_safe, expected) in [
            (auto, auto, [by, unnamed]),
            (auto, five, [by, named]),
            (auto, never, [by, none]),
            (five, auto, [named, all(Some(1500))]),
            (five, never, [named, none]),
            (never, auto, [none, none]),
            (never, five, [none, named]),
        ] {
            assert_eq!(by_boot(idle, fail_safe), expected, "{idle:?} {fail_safe:?}");
        }
    }

    #[test]
    fn what_an_older_boot_wrote_is_read() {
        let older = r#"{"idle-period":"PT5M","poll-interval":"PT2S","fail-safe-after":null,
            "terminating-hook":"terminating","heartbeat-interval":"PT5M"}"#;
        let read: WatchSettings = serde_json::from_str(older).unwrap();
        let five = Stay::For(SignedDuration::from_mins(5));
        assert_eq!((read.idle_period, read.fail_safe_after), (five, Stay::Never));
        assert_eq!(read.terminating_hook.as_deref(), Some("terminating"));
        assert_eq!((read.update_check, read.update_concurrency), (SignedDuration::from_mins(1), 1));
        assert_eq!(serde_json::from_str::<WatchSettings>("{}").unwrap(), WatchSettings::default());
    }

    #[test]
    fn what_is_written_is_read_again() {
        for idle_period in [Stay::Auto, Stay::Never, Stay::For(SignedDuration::from_millis(1500))] {
            let watch = WatchSettings { idle_period, ..WatchSettings::default() };
            let text = serde_json::to_string(&watch).unwrap();
            assert_eq!(serde_json::from_str::<WatchSettings>(&text).unwrap(), watch, "{text}");
        }
        assert!(serde_json::from_str::<WatchSettings>(r#"{"idle-period":"soon"}"#).is_err());
    }
}
