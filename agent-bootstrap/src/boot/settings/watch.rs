//! What `watch` goes by.

use std::time::Duration;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::reader::Reader;

/// What `watch` goes by; kept in the instance file. A field that an older boot did not write has its default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct WatchSettings {
    /// How long all agents are idle before protection drops; `None` is never.
    pub idle_period: Option<SignedDuration>,
    /// Time from one look to the next.
    pub poll_interval: SignedDuration,
    /// How long the instance is idle before it retires itself because no scaler acts; `None` is never.
    pub fail_safe_after: Option<SignedDuration>,
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
        // About as long as a boot takes, and the shortest time that EC2 bills.
        let idle_period = Some(SignedDuration::from_mins(1));
        Self {
            idle_period,
            poll_interval: SignedDuration::from_secs(1),
            fail_safe_after: fail_safe_after(idle_period),
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

/// Long after a scaler would have taken an idle instance.
fn fail_safe_after(idle_period: Option<SignedDuration>) -> Option<SignedDuration> {
    idle_period.map(|idle| idle.saturating_mul(3).saturating_add(SignedDuration::from_mins(10)))
}

/// Anything shorter is a slip.
const SHORTEST: Duration = Duration::from_millis(10);

pub(super) fn read(reader: &mut Reader, after_job: bool) -> WatchSettings {
    let usual = WatchSettings::default();
    let idle_period = reader.period_or_never("idle-period", usual.idle_period);
    let max_age = reader.period_or_never("max-age", usual.max_age);
    if max_age.is_some_and(|age| age.unsigned_abs() < SHORTEST) {
        reader.fault("max-age", "is no age to live to; `never` sets no limit");
    }
    let concurrency = reader.number("update-concurrency", usual.update_concurrency.into(), 1..=1000);
    WatchSettings {
        idle_period,
        fail_safe_after: reader.period_or_never("fail-safe-after", fail_safe_after(idle_period)),
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

    #[test]
    fn what_an_older_boot_wrote_is_read() {
        let older = r#"{"idle-period":"PT5M","poll-interval":"PT2S","fail-safe-after":null,
            "terminating-hook":"terminating","heartbeat-interval":"PT5M"}"#;
        let read: WatchSettings = serde_json::from_str(older).unwrap();
        assert_eq!((read.idle_period, read.fail_safe_after), (Some(SignedDuration::from_mins(5)), None));
        assert_eq!(read.terminating_hook.as_deref(), Some("terminating"));
        assert_eq!((read.update_check, read.update_concurrency), (SignedDuration::from_mins(1), 1));
        assert_eq!(serde_json::from_str::<WatchSettings>("{}").unwrap(), WatchSettings::default());
    }
}
