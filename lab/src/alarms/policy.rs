//! What a step policy makes of desired capacity. Pure.
//!
//! After AWS's user guide of Auto Scaling, "Step and simple scaling policies": a growth is counted from the instances
//! in service whose warm-up is over, so that one that is under way is not ordered again; one that shrinks counts those
//! that end as well, and waits until a growth has warmed up; the group's limits hold.

use std::time::Duration;

/// One step: from a bound to the next, relative to the alarm's threshold.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// From here on; without end when absent.
    pub lower: Option<f64>,
    /// Up to here; without end when absent.
    pub upper: Option<f64>,
    /// Instances, more or (negative) fewer.
    pub adjustment: i64,
}

/// A step policy that changes capacity by a number of instances (`ChangeInCapacity`).
#[derive(Debug, Clone, PartialEq)]
pub struct StepPolicy {
    /// What alarms name as their action.
    pub arn: String,
    /// Its name.
    pub name: String,
    /// The group that it resizes.
    pub group: String,
    /// How long an instance in service warms up.
    pub warm_up: Duration,
    /// Its steps.
    pub steps: Vec<Step>,
}

/// A group as a policy sees it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// Lower limit.
    pub min: u32,
    /// Upper limit.
    pub max: u32,
    /// Desired capacity.
    pub desired: u32,
    /// In service, and warm.
    pub warm: u32,
    /// In service and warming up, or on their way there.
    pub warming: u32,
    /// On their way out.
    pub terminating: u32,
}

/// The policy with this ARN.
#[must_use]
pub fn named<'a>(policies: &'a [StepPolicy], arn: &str) -> Option<&'a StepPolicy> {
    policies.iter().find(|policy| policy.arn == arn)
}

impl StepPolicy {
    /// Desired capacity for a datapoint so far beyond the alarm's threshold; none where it stays.
    #[must_use]
    pub fn desired(&self, group: &Standing, beyond: f64) -> Option<u32> {
        let adjustment = self.adjustment(beyond)?;
        let size = u32::try_from(adjustment.unsigned_abs()).unwrap_or(u32::MAX);
        let to = if adjustment > 0 {
            group.warm.saturating_add(size).min(group.max)
        } else if group.warming == 0 {
            group.warm.saturating_add(group.terminating).saturating_sub(size).max(group.min)
        } else {
            return None;
        };
        let moves = if adjustment > 0 { to > group.desired } else { to < group.desired };
        moves.then_some(to)
    }

    /// What the step for such a datapoint says; none where there is no step. Above the threshold a step begins at its lower
    /// bound and ends before the upper one; below it the other way round.
    #[must_use]
    pub fn adjustment(&self, beyond: f64) -> Option<i64> {
        let holds = |step: &&Step| {
            let (lower, upper) =
                (step.lower.unwrap_or(f64::NEG_INFINITY), step.upper.unwrap_or(f64::INFINITY));
            if upper <= 0.0 { lower < beyond && beyond <= upper } else { lower <= beyond && beyond < upper }
        };
        self.steps.iter().find(holds).map(|step| step.adjustment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(lower: Option<i32>, upper: Option<i32>, adjustment: i64) -> Step {
        Step { lower: lower.map(f64::from), upper: upper.map(f64::from), adjustment }
    }

    fn policy(steps: Vec<Step>) -> StepPolicy {
        let (arn, name, group) = ("arn:p".to_owned(), "p".to_owned(), "g".to_owned());
        StepPolicy { arn, name, group, warm_up: Duration::from_secs(180), steps }
    }

    fn grow() -> StepPolicy {
        policy(vec![step(Some(0), Some(1), 1), step(Some(1), Some(4), 2), step(Some(4), None, 5)])
    }

    fn shrink() -> StepPolicy {
        policy(vec![step(Some(-1), Some(0), -1), step(Some(-4), Some(-1), -2), step(None, Some(-4), -5)])
    }

    const GROUP: Standing = Standing { min: 1, max: 9, desired: 4, warm: 4, warming: 0, terminating: 0 };

    #[test]
    fn growth_counts_from_what_is_warm() {
        let cases = [
            ("at the threshold", GROUP, 0.0, Some(5)),
            ("the next step", GROUP, 1.0, Some(6)),
            ("within it", GROUP, 3.9, Some(6)),
            ("the last", GROUP, 4.0, Some(9)),
            ("no further than the maximum", Standing { max: 7, ..GROUP }, 400.0, Some(7)),
            ("at the maximum", Standing { max: 4, ..GROUP }, 4.0, None),
            ("no step is for less", GROUP, -0.1, None),
            (
                "what is under way is not ordered again",
                Standing { desired: 6, warming: 2, ..GROUP },
                1.0,
                None,
            ),
            ("but what is beyond it", Standing { desired: 6, warming: 2, ..GROUP }, 4.0, Some(9)),
        ];
        for (name, group, beyond, to) in cases {
            assert_eq!(grow().desired(&group, beyond), to, "{name}");
        }
    }

    #[test]
    fn shrinking_waits_for_growth_and_counts_what_ends() {
        let cases = [
            ("at the threshold", GROUP, 0.0, Some(3)),
            ("the next step begins at its upper bound", GROUP, -1.0, Some(2)),
            ("and ends before its lower one", GROUP, -3.9, Some(2)),
            ("the last, down to the minimum", GROUP, -4.0, Some(1)),
            ("no step is for more", GROUP, 0.1, None),
            ("a growth is under way", Standing { warming: 1, ..GROUP }, 0.0, None),
            ("one ends already", Standing { desired: 3, warm: 3, terminating: 1, ..GROUP }, 0.0, None),
            ("two were to go", Standing { desired: 3, warm: 3, terminating: 1, ..GROUP }, -1.0, Some(2)),
            ("at the minimum", Standing { desired: 1, warm: 1, ..GROUP }, 0.0, None),
        ];
        for (name, group, beyond, to) in cases {
            assert_eq!(shrink().desired(&group, beyond), to, "{name}");
        }
    }
}
