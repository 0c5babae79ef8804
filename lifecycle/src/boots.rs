//! How the group's last boots ended and which launches are under way, read out of the scaling activities that AWS
//! records. Pure.
//!
//! AWS keeps them for weeks, so that nothing has to be remembered here when a program starts anew.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// An instance that is reported unhealthy so soon after its launch never got ready, though the group took it for so:
/// a group without a launching hook does, and agents may fail to start behind one.
const EARLY: SignedDuration = SignedDuration::from_mins(10);

/// A scaling activity, as AWS describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activity {
    /// What happens, with the instance's id.
    pub description: String,
    /// Why.
    pub cause: String,
    /// How it stands, in AWS's word.
    pub status: String,
    /// What went wrong.
    pub message: String,
    /// When it began.
    pub start: Timestamp,
    /// When it ended.
    pub end: Option<Timestamp>,
}

/// The boot of one instance that has come to an end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// The instance.
    pub instance: String,
    /// When AWS began to launch it.
    pub began: Timestamp,
    /// When it was ready, or had failed.
    pub ended: Timestamp,
    /// Why it failed, in AWS's words; none when it got ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// The boots among these activities, the last to end first. A launch that never came to an instance (no capacity, a
/// refused request) is no boot: AWS tries those again with pauses of its own, and nothing runs that costs.
#[must_use]
pub fn boots(activities: &[Activity]) -> Vec<Boot> {
    let taken_out: BTreeMap<&str, &Activity> = activities
        .iter()
        .filter(|a| is_end(a) && a.cause.contains("user health-check"))
        .filter_map(|a| Some((instance(&a.description)?, a)))
        .collect();
    let launches = activities.iter().filter(|a| is_launch(a));
    let mut found: Vec<Boot> = launches
        .filter_map(|launch| {
            let id = instance(&launch.description)?;
            let ended = launch.end?;
            let boot = |ended, failure| Boot { instance: id.to_owned(), began: launch.start, ended, failure };
            match launch.status.as_str() {
                // Prepared is not ready: only its way into service tells. Between two that fail there it says nothing.
                "Successful" if launch.description.contains("into warm pool") => None,
                "Successful" => Some(match taken_out.get(id) {
                    Some(end) if end.start.duration_since(ended) < EARLY => {
                        boot(end.start, Some("it was reported unhealthy soon after its launch".to_owned()))
                    }
                    _ => boot(ended, None),
                }),
                "Cancelled" | "Failed" => Some(boot(ended, Some(launch.message.clone()))),
                _ => None,
            }
        })
        .collect();
    found.sort_by(|a, b| (b.ended, &b.instance).cmp(&(a.ended, &a.instance)));
    found
}

/// A launch that has come to an instance and not to its end: it boots, or its hook holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// The instance.
    pub instance: String,
    /// When AWS began it.
    pub began: Timestamp,
}

/// When AWS began to launch each instance that these tell of. One that came out of the warm pool was launched before.
#[must_use]
pub fn launched(activities: &[Activity]) -> BTreeMap<String, Timestamp> {
    let new = |a: &&Activity| is_launch(a) && !a.description.contains("from warm pool");
    let launches = activities.iter().filter(new);
    launches.filter_map(|a| Some((instance(&a.description)?.to_owned(), a.start))).collect()
}

/// The launches under way, the youngest first. What is being terminated is none, whatever becomes of its launch on record.
#[must_use]
pub fn under_way(activities: &[Activity]) -> Vec<Launch> {
    let going: Vec<&str> =
        activities.iter().filter(|a| is_end(a)).filter_map(|a| instance(&a.description)).collect();
    let open = activities.iter().filter(|a| is_launch(a) && a.end.is_none());
    let mut found: Vec<Launch> = open
        .filter(|a| instance(&a.description).is_none_or(|id| !going.contains(&id)))
        .filter_map(|a| Some(Launch { instance: instance(&a.description)?.to_owned(), began: a.start }))
        .collect();
    found.sort_by(|a, b| (b.began, &b.instance).cmp(&(a.began, &a.instance)));
    found
}

fn is_end(activity: &Activity) -> bool {
    activity.description.starts_with("Terminating EC2 instance")
}

fn is_launch(activity: &Activity) -> bool {
    activity.description.starts_with("Launching a new EC2 instance")
}

/// `Launching a new EC2 instance: i-0a1b` and `… from warm pool: i-0a1b. Status Reason: …` name one.
fn instance(description: &str) -> Option<&str> {
    let (_, rest) = description.split_once(": ")?;
    let id = rest.split([' ', '.']).next()?;
    id.starts_with("i-").then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn launch(description: &str, status: &str, start: i64, end: Option<i64>) -> Activity {
        Activity {
            description: format!("Launching a new EC2 instance{description}"),
            cause: "At 10:00 an instance was started".into(),
            status: status.into(),
            message: if status == "Successful" { String::new() } else { "it was abandoned".into() },
            start: at(start),
            end: end.map(at),
        }
    }

    fn end(id: &str, cause: &str, start: i64) -> Activity {
        Activity {
            description: format!("Terminating EC2 instance: {id}"),
            cause: format!("At 10:00 an instance was taken out of service in response to {cause}."),
            status: "InProgress".into(),
            message: String::new(),
            start: at(start),
            end: None,
        }
    }

    fn told(activities: &[Activity]) -> Vec<(String, i64, bool)> {
        boots(activities)
            .into_iter()
            .map(|b| (b.instance, b.ended.as_second(), b.failure.is_some()))
            .collect()
    }

    #[test]
    fn each_launch_that_came_to_an_instance_and_ended_is_a_boot() {
        let cases = [
            ("ready", launch(": i-1", "Successful", 0, Some(9)), Some(false)),
            ("its hook was abandoned", launch(": i-1", "Cancelled", 0, Some(9)), Some(true)),
            (
                "the same with the reason in the description",
                launch(
                    ": i-1. Status Reason: Instance failed to complete user's Lifecycle Action: x",
                    "Cancelled",
                    0,
                    Some(9),
                ),
                Some(true),
            ),
            ("EC2 ended it", launch(": i-1", "Failed", 0, Some(9)), Some(true)),
            ("from the warm pool", launch(" from warm pool: i-1", "Successful", 0, Some(9)), Some(false)),
            ("into the warm pool", launch(" into warm pool: i-1", "Cancelled", 0, Some(9)), Some(true)),
            ("only prepared", launch(" into warm pool: i-1", "Successful", 0, Some(9)), None),
            ("it boots", launch(": i-1", "MidLifecycleAction", 0, None), None),
            (
                "no capacity",
                launch(
                    ".  Status Reason: no capacity: try later. Launching EC2 instance failed.",
                    "Failed",
                    0,
                    Some(9),
                ),
                None,
            ),
        ];
        for (name, activity, failed) in cases {
            let expected: Vec<_> = failed.map(|failed| ("i-1".to_owned(), 9, failed)).into_iter().collect();
            assert_eq!(told(&[activity]), expected, "{name}");
        }
    }

    #[test]
    fn an_instance_that_reports_itself_unhealthy_at_once_never_got_ready() {
        let ready = launch(": i-1", "Successful", 0, Some(60));
        for (cause, start, expected) in [
            ("a user health-check", 70, (70, true)),
            ("a user health-check", 660, (60, false)),
            ("a difference between desired and actual capacity", 70, (60, false)),
            ("an EC2 health check indicating it has been terminated or stopped", 70, (60, false)),
        ] {
            let seen = told(&[end("i-1", cause, start), ready.clone()]);
            assert_eq!(seen, [("i-1".to_owned(), expected.0, expected.1)], "{cause} at {start}");
        }
    }

    #[test]
    fn the_last_to_end_comes_first_whatever_began_first() {
        let slow = launch(": i-1", "Cancelled", 0, Some(90));
        let quick = launch(": i-2", "Successful", 30, Some(40));
        assert_eq!(told(&[quick, slow]), [("i-1".to_owned(), 90, true), ("i-2".to_owned(), 40, false)]);
    }

    #[test]
    fn a_launch_is_under_way_until_it_ends_and_only_with_an_instance() {
        let none_came =
            launch(".  Status Reason: no capacity. Launching EC2 instance failed.", "Failed", 5, Some(6));
        let activities = [
            launch(": i-1", "MidLifecycleAction", 10, None),
            launch(" into warm pool: i-4", "InProgress", 30, None),
            launch(": i-3", "PreInService", 10, None),
            launch(": i-2", "Successful", 0, Some(9)),
            launch("", "WaitingForInstanceId", 40, None),
            none_came,
            launch(": i-5", "MidLifecycleAction", 45, None),
            end("i-5", "a user health-check", 50),
        ];
        let seen: Vec<_> =
            under_way(&activities).into_iter().map(|l| (l.instance, l.began.as_second())).collect();
        assert_eq!(seen, [("i-4".to_owned(), 30), ("i-3".to_owned(), 10), ("i-1".to_owned(), 10)]);
    }

    #[test]
    fn a_launch_is_told_whatever_became_of_it_and_that_into_the_warm_pool_counts() {
        let activities = [
            launch(" from warm pool: i-1", "Successful", 60, Some(70)),
            launch(" from warm pool: i-9", "Successful", 50, Some(55)),
            launch(": i-2", "MidLifecycleAction", 30, None),
            launch(" into warm pool: i-1", "Successful", 0, Some(9)),
            launch(".  Status Reason: no capacity", "Failed", 5, Some(6)),
            end("i-3", "a user health-check", 50),
        ];
        let seen: Vec<_> = launched(&activities).into_iter().map(|(id, at)| (id, at.as_second())).collect();
        assert_eq!(seen, [("i-1".to_owned(), 0), ("i-2".to_owned(), 30)]);
    }
}
