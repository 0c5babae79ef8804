//! CloudWatch alarms: the definitions that moto holds are evaluated once a minute, states are told to moto, and step
//! policies that an alarm names as its action resize the lab's groups.
//!
//! # Layout
//! - [`evaluate`]: pure: from datapoints to an alarm's state, as AWS documents it.
//! - [`policy`]: pure: what a step policy makes of a group's desired capacity.
//! - this file: the clock, and what Lambda publishes of its functions.

pub mod evaluate;
pub mod policy;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::{SignedDuration, Timestamp};

use crate::group::service::Groups;
use crate::readback::Readback;
use crate::schedule::Schedules;
use evaluate::{Alarm, State, datapoints, evaluate};
use policy::{StepPolicy, named};

/// All alarms of the lab.
pub struct Alarms {
    readback: Readback,
    groups: Arc<Groups>,
    schedules: Arc<Schedules>,
    /// How long a minute of AWS lasts here.
    minute: Duration,
    /// How many invocations of each function have been told.
    told: Mutex<BTreeMap<String, usize>>,
}

impl Alarms {
    /// Nothing is evaluated yet: see [`Alarms::run`].
    #[must_use]
    pub fn new(
        readback: Readback,
        groups: Arc<Groups>,
        schedules: Arc<Schedules>,
        minute: Duration,
    ) -> Arc<Self> {
        Arc::new(Self { readback, groups, schedules, minute, told: Mutex::default() })
    }

    /// Evaluates all alarms once a minute, for ever.
    pub async fn run(self: Arc<Self>) {
        let mut clock = tokio::time::interval(self.minute);
        clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            clock.tick().await;
            if let Err(error) = self.round(Timestamp::now()).await {
                tracing::warn!(error = format!("{error:#}"), "alarms are not evaluated");
            }
        }
    }

    async fn round(&self, now: Timestamp) -> Result<()> {
        self.tell_invocations().await?;
        let policies = self.readback.step_policies().await?;
        for (alarm, state) in self.readback.alarms().await? {
            let period = self.lasts(alarm.period);
            let from = now.checked_sub(period.checked_mul(alarm.range() + 1).context("an alarm's range")?)?;
            let raw = self.readback.metric(&alarm, from, now).await?;
            let points = datapoints(&raw, alarm.statistic, period, now, alarm.range());
            let evaluated = evaluate(&alarm, state, &points);
            if evaluated.state != state {
                tracing::info!(alarm = alarm.name, state = evaluated.state.word(), reason = evaluated.reason);
                self.readback.set_alarm_state(&alarm.name, evaluated.state, &evaluated.reason).await?;
            }
            // An Auto Scaling action is taken again each minute as long as the alarm is in ALARM.
            if let (State::Alarm, Some(value)) = (evaluated.state, evaluated.newest) {
                for policy in alarm.actions.iter().filter_map(|arn| named(&policies, arn)) {
                    self.act(&alarm, policy, value, now);
                }
            }
        }
        Ok(())
    }

    fn act(&self, alarm: &Alarm, policy: &StepPolicy, value: f64, now: Timestamp) {
        let warm_up = self.lasts(policy.warm_up);
        self.groups.change(&policy.group, |group| {
            if let Some(to) = policy.desired(&group.standing(warm_up, now), value - alarm.threshold) {
                group.resized_by(&alarm.name, &policy.name, to, now);
            }
        });
    }

    /// So long a time of AWS lasts here.
    fn lasts(&self, time: Duration) -> SignedDuration {
        let seconds = time.as_secs_f64() / 60.0 * self.minute.as_secs_f64();
        SignedDuration::try_from_secs_f64(seconds).unwrap_or(SignedDuration::MAX)
    }

    /// `Invocations` and `Errors` of the functions that have run since.
    async fn tell_invocations(&self) -> Result<()> {
        let mut by_function: BTreeMap<String, Vec<(Timestamp, bool)>> = BTreeMap::new();
        for invocation in self.schedules.invocations() {
            let all = by_function.entry(invocation.function.clone()).or_default();
            all.push((invocation.at, invocation.outcome.is_err()));
        }
        for (function, all) in by_function {
            // Nothing panics while it holds the lock, and if it did, the numbers would be whole.
            let told = self.told.lock().unwrap_or_else(PoisonError::into_inner).get(&function).copied();
            // A function that was replaced begins anew.
            let told = told.filter(|told| *told <= all.len()).unwrap_or(0);
            for (at, failed) in &all[told..] {
                self.readback.put_invocation(&function, *at, *failed).await?;
            }
            self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(function, all.len());
        }
        Ok(())
    }
}
