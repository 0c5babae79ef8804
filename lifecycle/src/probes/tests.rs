use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const MINUTE: SignedDuration = SignedDuration::from_mins(1);

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn launch(id: &str, began: i64, status: &str, ended: Option<i64>) -> Activity {
    Activity {
        description: format!("Launching a new EC2 instance: {id}"),
        cause: String::new(),
        status: status.into(),
        message: "it was abandoned".into(),
        start: at(began),
        end: ended.map(at),
    }
}

fn failed(id: &str, began: i64, ended: i64) -> Activity {
    launch(id, began, "Cancelled", Some(ended))
}

fn ready(id: &str, began: i64, ended: i64) -> Activity {
    launch(id, began, "Successful", Some(ended))
}

fn open(id: &str, began: i64) -> Activity {
    launch(id, began, "MidLifecycleAction", None)
}

#[test]
fn a_launch_is_held_when_three_boots_in_a_row_have_failed() {
    let hold = |in_a_row, until| Turn::Hold { in_a_row, until: at(until) };
    let behind = |in_a_row, probe: &str| Turn::Behind { in_a_row, probe: probe.to_owned() };
    let two = [failed("i-1", 0, 10), failed("i-2", 20, 30)];
    let cases: [(&str, Vec<Activity>, Turn); 11] = [
        ("the first to fail", vec![], Turn::GiveUp),
        ("the second", vec![failed("i-1", 0, 10)], Turn::GiveUp),
        ("the third", two.to_vec(), hold(3, 160)),
        ("one got ready before them", [&two[..], &[ready("i-0", 0, 5)]].concat(), hold(3, 160)),
        ("one got ready between them", [&two[..], &[ready("i-0", 0, 15)]].concat(), Turn::GiveUp),
        ("one got ready since", [&two[..], &[ready("i-5", 90, 130)]].concat(), Turn::GiveUp),
        ("the fourth, a probe", [&two[..], &[failed("i-3", 40, 45)]].concat(), hold(4, 220)),
        (
            "another failed since: the pause begins anew",
            [&two[..], &[failed("i-3", 40, 130)]].concat(),
            hold(4, 190),
        ),
        ("a younger one boots", [&two[..], &[open("i-5", 95)]].concat(), behind(3, "i-5")),
        ("an elder one boots, or is held", [&two[..], &[open("i-3", 35)]].concat(), hold(3, 160)),
        ("launched together: one of them, by the id", [&two[..], &[open("i-8", 80)]].concat(), hold(3, 160)),
    ];
    for (name, mut activities, expected) in cases {
        activities.push(open("i-9", 80));
        assert_eq!(turn(&activities, "i-9", at(100), MINUTE), expected, "{name}");
    }
    let over = [&two[..], &[failed("i-9", 80, 110)]].concat();
    assert_eq!(turn(&over, "i-9", at(100), MINUTE), Turn::GiveUp, "its launch is over");
    assert_eq!(turn(&two, "i-9", at(100), MINUTE), Turn::GiveUp, "the group does not know it");
    assert_eq!(turn(&[], "i-9", at(100), MINUTE), Turn::GiveUp);
}

/// A group that replaces at once what ends, and never lacks one for longer.
struct World {
    activities: BTreeMap<String, Activity>,
    /// Boots that failed and hold their launch.
    held: BTreeMap<String, Timestamp>,
    /// When a boot ends.
    boots: BTreeMap<String, i64>,
    next: usize,
    boot_takes: i64,
}

impl World {
    fn launch(&mut self, now: i64) {
        self.next += 1;
        let id = format!("i-{:03}", (self.next * 37) % 1000);
        self.boots.insert(id.clone(), now + self.boot_takes);
        self.activities.insert(id.clone(), open(&id, now));
    }

    fn close(&mut self, id: &str, status: &str, now: i64) {
        let activity = self.activities.get_mut(id).unwrap();
        activity.status = status.to_owned();
        activity.end = Some(at(now));
    }

    fn record(&self) -> Vec<Activity> {
        self.activities.values().cloned().collect()
    }

    /// A second: boots end, then each that holds looks at the record.
    fn second(&mut self, now: i64, good: bool) -> usize {
        let over: Vec<String> =
            self.boots.iter().filter(|(_, end)| **end <= now).map(|(id, _)| id.clone()).collect();
        for id in over {
            self.boots.remove(&id);
            if good {
                self.close(&id, "Successful", now);
            } else {
                self.held.insert(id, at(now));
            }
        }
        let mut launched = 0;
        for (id, failed) in self.held.clone() {
            let goes = match turn(&self.record(), &id, failed, MINUTE) {
                Turn::GiveUp => true,
                Turn::Hold { until, .. } => at(now) >= until,
                Turn::Behind { .. } => false,
            };
            if goes {
                self.held.remove(&id);
                self.close(&id, "Cancelled", now);
                self.launch(now);
                launched += 1;
            }
        }
        launched
    }
}

proptest! {
    // Two hours second by second each.
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// However many the minimum is: after the first failures one is tried at a time, ever more rarely; and as soon as one
    /// gets ready all the others are replaced.
    #[test]
    fn one_probe_at_a_time_and_all_come_when_one_gets_ready(minimum in 1..8usize, boot_takes in 1..50i64) {
        let mut world = World {
            activities: BTreeMap::new(), held: BTreeMap::new(), boots: BTreeMap::new(), next: 0, boot_takes,
        };
        for _ in 0..minimum {
            world.launch(0);
        }
        let mut launches = Vec::new();
        for now in 1..7200 {
            launches.extend(std::iter::repeat_n(now, world.second(now, false)));
            prop_assert_eq!(world.held.len() + world.boots.len(), minimum, "as many as are missing, no more");
        }
        // All that were there at first, and those that were launched before the third failure was on record.
        let storm = launches.iter().filter(|at| **at <= 3 * boot_takes + 3).count();
        prop_assert!(storm <= minimum.max(2) * 2, "{launches:?}");
        let probes = &launches[storm..];
        prop_assert!(probes.windows(2).all(|pair| pair[1] - pair[0] >= 60), "{probes:?}");
        prop_assert!(probes.windows(2).skip(3).all(|pair| pair[1] - pair[0] >= 600), "{probes:?}");
        prop_assert!(probes.len() >= 10, "it is tried on: {probes:?}");
        // Cured. The next probe gets ready, and the others' successors with it.
        let mut now = 7200;
        while !world.held.is_empty() || !world.boots.is_empty() {
            world.second(now, true);
            now += 1;
            prop_assert!(now < 7200 + 600 + 3 * boot_takes + 3, "{:?}", world.held);
        }
    }
}
