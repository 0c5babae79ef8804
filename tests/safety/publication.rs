//! What scalers in alarms mode publish, and what CloudWatch makes of it: the lab's alarms and step policies, as the
//! template has them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use lab::alarms::evaluate::{
    Alarm, Comparison, Missing, Published as Value, State, Statistic, datapoints, evaluate,
};
use lab::alarms::policy::{Step, StepPolicy};
use scaler::gap::void_from;
use scaler::ports::{Metrics, Problem, Publication as Published};

use crate::world::{World, lock};

const MINUTE: Duration = Duration::from_secs(60);
const WARM_UP: Duration = Duration::from_secs(180);

/// Datapoints of each group's gap.
#[derive(Default)]
pub struct Minutes {
    gaps: BTreeMap<usize, Vec<Value>>,
    states: BTreeMap<(usize, bool), State>,
    evaluated: Option<Timestamp>,
}

/// Where a scaler publishes.
pub struct Publication {
    pub minutes: Arc<Mutex<Minutes>>,
}

impl Metrics for Publication {
    async fn publish(&self, queues: &[Published], at: Timestamp) -> Result<(), Problem> {
        let mut minutes = self.minutes.lock().unwrap_or_else(PoisonError::into_inner);
        for (group, gap) in queues.iter().flat_map(|queue| &queue.gaps) {
            let all =
                minutes.gaps.entry(group.parse().expect("groups are named by their index")).or_default();
            let value = *gap as f64;
            let one = |value: f64, at| Value { at, minimum: value, maximum: value, sum: value, count: 1.0 };
            all.push(one(value, at));
            if *gap != 0 {
                all.push(one(0.0, void_from(at, MINUTE)));
            }
        }
        Ok(())
    }
}

/// `GroupGrow` and `GroupShrink`: from gaps of at least so many on, so many instances.
const GROWS: [i64; 8] = [1, 2, 3, 4, 6, 10, 20, 40];
const SHRINKS: [i64; 4] = [1, 2, 5, 20];

fn policy(grows: bool) -> StepPolicy {
    let sizes: &[i64] = if grows { &GROWS } else { &SHRINKS };
    let bound = |at: usize| sizes.get(at).map(|size| (size - 1) as f64);
    let step = |at: usize| {
        let (near, far) = (bound(at), bound(at + 1));
        let away = |bound: Option<f64>| bound.map(|bound| 0.0 - bound);
        let (lower, upper, adjustment) =
            if grows { (near, far, sizes[at]) } else { (away(far), away(near), -sizes[at]) };
        Step { lower, upper, adjustment }
    };
    let steps = (0..sizes.len()).map(step).collect();
    let name = if grows { "grow" } else { "shrink" }.to_owned();
    StepPolicy { arn: name.clone(), name, group: String::new(), warm_up: WARM_UP, steps }
}

/// `GroupLacks` and `GroupSpares`.
fn alarm(grows: bool) -> Alarm {
    Alarm {
        name: if grows { "lacks" } else { "spares" }.to_owned(),
        namespace: "Buildkite".to_owned(),
        metric: "CapacityGap".to_owned(),
        dimensions: Vec::new(),
        statistic: if grows { Statistic::Maximum } else { Statistic::Minimum },
        period: MINUTE,
        periods: 1,
        to_alarm: 1,
        threshold: if grows { 1.0 } else { -1.0 },
        comparison: if grows { Comparison::AtLeast } else { Comparison::AtMost },
        missing: Missing::NotBreaching,
        actions: Vec::new(),
    }
}

impl World {
    /// Once a minute the alarms of all groups in alarms mode are evaluated, and act.
    pub fn alarms_act(&mut self, now: Timestamp) {
        let minute = SignedDuration::from_secs(60);
        let shared = Arc::clone(&self.minutes);
        let mut minutes = lock(&shared);
        if minutes.evaluated.is_some_and(|at| now.duration_since(at) < minute) {
            return;
        }
        minutes.evaluated = Some(now);
        let mut aws = lock(&self.aws);
        for index in self.stacks.iter().filter(|s| !s.order.mode.is_direct()).flat_map(|s| s.groups.clone()) {
            let gaps = minutes.gaps.entry(index).or_default();
            gaps.retain(|one| now.duration_since(one.at) < minute * 10);
            let gaps = gaps.clone();
            for grows in [true, false] {
                let (alarm, policy) = (alarm(grows), policy(grows));
                let points = datapoints(&gaps, alarm.statistic, minute, now, alarm.range());
                let state = minutes.states.get(&(index, grows)).copied().unwrap_or(State::Ok);
                let evaluated = evaluate(&alarm, state, &points);
                minutes.states.insert((index, grows), evaluated.state);
                let Some(value) = evaluated.newest.filter(|_| evaluated.state == State::Alarm) else {
                    continue;
                };
                let group = &mut aws.groups[index];
                let warm_up = SignedDuration::try_from(policy.warm_up).expect("three minutes");
                if let Some(to) = policy.desired(&group.standing(warm_up, now), value - alarm.threshold) {
                    group.resized_by(&alarm.name, &policy.name, to, now);
                    self.transitions += 1;
                }
            }
        }
    }
}
