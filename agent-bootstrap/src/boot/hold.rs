//! A launch that is held back: where AWS would repeat a boot that keeps failing at once and for ever, whatever the scaler
//! desires (the group's minimum, a warm pool), the instance whose boot failed stays a while under heartbeats of the
//! launching hook. Only then it is given up, and its successor is the next probe (`lifecycle::probes`).

use std::collections::BTreeSet;
use std::time::Duration;

use aws::Imds;
use jiff::{SignedDuration, Timestamp};
use lifecycle::Refusal;
use lifecycle::probes::{LONGEST, Turn, turn};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep, timeout};

use super::ends::Ends;
use crate::watch::autoscaling::AutoScalingGroup;
use crate::watch::group::Group as _;
use crate::watch::metadata::{ImdsMetadata, Metadata as _};

/// From one look at the group's intention to the next.
const TARGET_LOOK: Duration = Duration::from_secs(1);

/// From one look at the group to the next, at most; each comes with a heartbeat.
const LONGEST_LOOK: Duration = Duration::from_secs(30);

/// A group that does not answer holds nothing up.
const PATIENCE: Duration = Duration::from_secs(10);

/// A machine that came up quicker than its group took note of it is waited for so long.
const SETTLES: Duration = Duration::from_secs(20);

/// Why a launch is held no longer.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Over {
    /// There was nothing to be held for, and nothing to be said.
    NotHeld,
    /// The group ends the instance, whatever it says.
    GroupEndsIt,
    /// It was held, or should have been; for people.
    Because(String),
}

/// A launch whose boot failed.
struct Held<'a> {
    group: AutoScalingGroup,
    instance: &'a str,
    hook: &'a str,
    imds: Imds,
    failed: Timestamp,
    pause: SignedDuration,
}

impl Ends<'_> {
    /// Holds the launch of an instance whose boot has just failed, as long as no other one may be tried. Whatever cannot
    /// be asked or done ends it. Has the group begun to end the instance meanwhile?
    pub async fn hold(&self, pause: Duration) -> bool {
        let (Some(hook), Some(group)) = (&self.settings.launching_hook, &self.identity.group) else {
            return false;
        };
        let instance = self.identity.instance_id.as_str();
        let held = Held {
            group: AutoScalingGroup::new(self.session, group, instance),
            instance,
            hook,
            imds: Imds::new(),
            failed: Timestamp::now(),
            pause: SignedDuration::try_from(pause).unwrap_or(SignedDuration::MAX),
        };
        let over = tokio::select! {
            over = held.until_it_may_go() => over,
            () = told_to_stop() => Over::Because("SIGTERM".to_owned()),
            () = held.until_the_group_ends_it() => Over::GroupEndsIt,
        };
        match &over {
            Over::NotHeld => {}
            Over::GroupEndsIt => eprintln!("boot: {instance}: its launch is not held: the group ends it"),
            Over::Because(why) => eprintln!("boot: {instance}: its launch is not held any longer: {why}"),
        }
        over == Over::GroupEndsIt
    }
}

impl Held<'_> {
    async fn until_it_may_go(&self) -> Over {
        let longest = (self.pause * LONGEST).unsigned_abs();
        let look_again = LONGEST_LOOK.min(self.pause.unsigned_abs() / 2);
        // Counted by a clock that nobody sets: a wrong time of day must not hold it for hours.
        let mut waits_for = None;
        let mut latest = Instant::now() + longest;
        loop {
            let seen = match timeout(PATIENCE, self.look()).await {
                Ok(seen) => seen,
                Err(_) => Err(Refusal::Failed(format!("no answer within {} s", PATIENCE.as_secs()))),
            };
            let was_held = waits_for.is_some();
            match seen {
                Ok(Turn::GiveUp) if was_held => {
                    return Over::Because("nothing speaks for it any more".to_owned());
                }
                Ok(Turn::GiveUp) => return Over::NotHeld,
                Ok(turn) if waits_for.as_ref() != Some(&turn) => {
                    latest = Instant::now() + self.wait(&turn).min(longest);
                    self.say(&turn);
                    waits_for = Some(turn);
                }
                // The probe is another one, and it goes on.
                Ok(Turn::Behind { .. }) => latest = Instant::now() + longest,
                Ok(Turn::Hold { .. }) => {}
                Err(refusal) if !was_held => {
                    return Over::Because(format!("how the group's boots ended is not known: {refusal}"));
                }
                // What was known holds.
                Err(_) => {}
            }
            let left = latest.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Over::Because("the next one may be tried".to_owned());
            }
            if let Err(Refusal::NoAction(why)) = self.heartbeat(was_held).await {
                return Over::Because(why);
            }
            sleep(left.min(look_again)).await;
        }
    }

    /// The group's record first: where fewer than three boots have failed it is the only call.
    async fn look(&self) -> Result<Turn, Refusal> {
        let activities = self.group.describe_activities(&BTreeSet::new()).await?;
        let turn = turn(&activities, self.instance, self.failed, self.pause);
        if turn == Turn::GiveUp || self.is_repeated().await? { Ok(turn) } else { Ok(Turn::GiveUp) }
    }

    /// A warm pool is filled whatever is desired. Instances in it are not among the group's.
    async fn is_repeated(&self) -> Result<bool, Refusal> {
        let target = ImdsMetadata(self.imds.clone()).target_state().await;
        let target = target.map_err(|error| Refusal::Failed(error.to_string()))?;
        if target.is_some_and(|target| target.is_warmed()) {
            return Ok(true);
        }
        Ok(self.group.describe_rollout().await?.repeats(self.instance))
    }

    /// A boot may have failed before its group got as far as waiting for it.
    async fn heartbeat(&self, was_held: bool) -> Result<(), Refusal> {
        let settled = Instant::now() + SETTLES;
        loop {
            let refused = match timeout(PATIENCE, self.group.heartbeat(self.hook)).await {
                Ok(Err(refused @ Refusal::NoAction(_))) => refused,
                Ok(told) => return told,
                Err(_) => return Err(Refusal::Failed("no answer".to_owned())),
            };
            if was_held || Instant::now() >= settled {
                return Err(refused);
            }
            sleep(TARGET_LOOK / 4).await;
        }
    }

    fn wait(&self, turn: &Turn) -> Duration {
        match turn {
            Turn::Hold { until, .. } => {
                until.duration_since(Timestamp::now()).max(SignedDuration::ZERO).unsigned_abs()
            }
            Turn::GiveUp => Duration::ZERO,
            Turn::Behind { .. } => Duration::MAX,
        }
    }

    fn say(&self, turn: &Turn) {
        let instance = self.instance;
        match turn {
            Turn::GiveUp => {}
            Turn::Hold { in_a_row, until } => eprintln!(
                "boot: {instance}: {in_a_row} boots in a row failed and the group repeats them: its launch is held until \
                 {until:.0}, then the next one is tried"
            ),
            Turn::Behind { in_a_row, probe } => eprintln!(
                "boot: {instance}: {in_a_row} boots in a row failed and the group repeats them: {probe} is tried first; the \
                 launch of this one is held until one gets ready"
            ),
        }
    }

    async fn until_the_group_ends_it(&self) {
        let metadata = ImdsMetadata(self.imds.clone());
        while !metadata.target_state().await.ok().flatten().is_some_and(|target| target.is_leaving()) {
            sleep(TARGET_LOOK).await;
        }
    }
}

/// Where no signal can be listened to it ends the program.
async fn told_to_stop() {
    match signal(SignalKind::terminate()) {
        Ok(mut stop) => {
            stop.recv().await;
        }
        Err(_) => std::future::pending().await,
    }
}
