//! A group as AWS runs it, second by second, under the brake: whatever the image does, the laws hold.

use proptest::prelude::*;

use super::*;
use crate::decide::{Policy, Share, decide};

const POLICY: Policy = Policy::of_need(1);
const TICK: i64 = 10;
const PAUSE: SignedDuration = SignedDuration::from_secs(60);
const LONGEST: i64 = 600;

/// Instances of a group, and what AWS wrote down of their boots.
#[derive(Debug)]
struct World {
    desired: u32,
    /// When each boot ends.
    booting: Vec<(u32, i64, i64)>,
    serving: Vec<u32>,
    /// Of those that serve, so many are idle and unprotected: always the last ones.
    idle: u32,
    good: bool,
    version: u32,
    boot_takes: i64,
    launches: Vec<i64>,
    boots: Vec<Boot>,
    asked: usize,
    /// More than so many must never serve less than before.
    lost: u32,
}

impl World {
    fn new(serving: u32, idle: u32, boot_takes: i64) -> Self {
        Self {
            desired: serving,
            booting: Vec::new(),
            serving: (0..serving).collect(),
            idle: idle.min(serving),
            good: false,
            version: 1,
            boot_takes,
            launches: Vec::new(),
            boots: Vec::new(),
            asked: 0,
            lost: 0,
        }
    }

    fn live(&self) -> u32 {
        u32::try_from(self.booting.len() + self.serving.len()).unwrap()
    }

    /// A second passes: boots end, and the group is what is desired, as far as it may be.
    fn second(&mut self, now: i64) {
        let ended: Vec<_> = self.booting.iter().filter(|(_, _, ends)| *ends <= now).copied().collect();
        self.booting.retain(|(_, _, ends)| *ends > now);
        for (id, began, _) in ended {
            if self.good {
                self.serving.insert(0, id);
            }
            let failure = (!self.good).then(|| "it was abandoned".to_owned());
            let (began, ended) =
                (Timestamp::from_second(began).unwrap(), Timestamp::from_second(now).unwrap());
            self.boots.insert(0, Boot { instance: format!("i-{id}"), began, ended, failure });
            self.boots.truncate(50);
        }
        while self.live() < self.desired {
            let id = 1_000 + u32::try_from(self.launches.len()).unwrap();
            self.booting.push((id, now, now + self.boot_takes));
            self.launches.push(now);
        }
        while self.live() > self.desired && self.idle > 0 {
            self.serving.pop();
            self.idle -= 1;
            self.lost += 1;
        }
    }

    fn seen(&self) -> Seen {
        let in_service = u32::try_from(self.serving.len()).unwrap();
        let live = self.live();
        Seen {
            capacity: Capacity {
                min: 0,
                max: 40,
                desired: self.desired,
                live,
                in_service,
                held: live - self.idle,
                releasable: self.idle,
                ..Capacity::default()
            },
            launches_from: Some(format!("lt-1:{}", self.version)),
            booting: self.booting.iter().map(|(id, ..)| format!("i-{id}")).collect(),
            serving: self.serving.iter().map(|id| format!("i-{id}")).collect(),
        }
    }

    /// One tick of the scaler for so many jobs.
    fn tick(&mut self, brake: &mut Brake, needed: u32, now: i64) {
        let (seen, now) = (self.seen(), Timestamp::from_second(now).unwrap());
        if brake.look(&seen, now) {
            self.asked += 1;
            brake.learn(self.boots.clone(), now);
        }
        let ceiling = brake.failing(PAUSE).map(|failing| failing.ceiling(&seen.capacity, now));
        let group = Capacity { ceiling, ..seen.capacity };
        let share = Share { instances: needed.min(group.limit().max(group.stays())), beyond: 0 };
        if let Some(target) = decide(&POLICY, share, &group).target() {
            self.desired = target;
        }
    }

    /// Runs from one second to another.
    fn run(&mut self, brake: &mut Brake, needed: u32, from: i64, to: i64) {
        for now in from..to {
            self.second(now);
            if now % TICK == 0 {
                self.tick(brake, needed, now);
            }
        }
    }

    fn launched_since(&self, second: i64) -> usize {
        self.launches.iter().filter(|at| **at >= second).count()
    }
}

const HOUR: i64 = 3600;

/// In two hours, once the pauses are at their longest: probes, and the successors that AWS makes until a tick sees the
/// failure of each (one, where a boot takes longer than from tick to tick).
fn most_launches(boot_takes: i64) -> usize {
    let successors = (TICK + boot_takes - 1) / boot_takes;
    usize::try_from((2 * HOUR / (LONGEST + boot_takes) + 2) * (1 + successors)).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_bad_image_is_tried_ever_more_seldom(serving in 0u32..5, more in 1u32..20, takes in 1i64..200) {
        let (mut world, mut brake) = (World::new(serving, 0, takes), Brake::default());
        world.run(&mut brake, serving + more, 0, 4 * HOUR);
        let most = most_launches(takes);
        prop_assert!(world.launched_since(2 * HOUR) <= most, "{} launches", world.launched_since(2 * HOUR));
        prop_assert!(world.launched_since(2 * HOUR) >= 2, "but it is tried");
        prop_assert_eq!(world.serving.len(), serving as usize);
    }

    /// AWS takes idle instances when less is desired than lives: none goes because of the brake.
    #[test]
    fn what_serves_goes_on_serving(serving in 1u32..6, idle in 0u32..6, more in 1u32..9, takes in 1i64..200) {
        let (mut world, mut brake) = (World::new(serving, idle, takes), Brake::default());
        world.run(&mut brake, serving + more, 0, HOUR);
        prop_assert_eq!((world.lost, world.serving.len()), (0, serving as usize));
    }

    /// Another launch template is believed in at once; the same one, mended from outside, at the next probe.
    #[test]
    fn a_cure_is_seen(needed in 1u32..20, takes in 1i64..200, wait in 600i64..7200, template: bool) {
        let (mut world, mut brake) = (World::new(0, 0, takes), Brake::default());
        world.run(&mut brake, needed, 0, wait);
        world.good = true;
        world.version += u32::from(template);
        // What boots now began before the cure, and gets ready all the same.
        let until = wait + 2 * takes + 2 * TICK + if template { 0 } else { LONGEST + 2 * TICK };
        world.run(&mut brake, needed, wait, until + 1);
        prop_assert_eq!(world.serving.len(), needed as usize);
        prop_assert_eq!(brake.failing(PAUSE), None);
    }

    /// A program that starts anew in each tick brakes the same.
    #[test]
    fn what_aws_keeps_is_memory_enough(needed in 1u32..9, takes in 1i64..100) {
        let mut world = World::new(0, 0, takes);
        for now in 0..4 * HOUR {
            world.second(now);
            if now % TICK == 0 {
                world.tick(&mut Brake::default(), needed, now);
            }
        }
        let most = most_launches(takes);
        prop_assert!(world.launched_since(2 * HOUR) <= most, "{} launches", world.launched_since(2 * HOUR));
    }

    /// Good images cost a question a minute while they boot, and none when they serve.
    #[test]
    fn health_costs_next_to_nothing(needed in 1u32..9, takes in 1i64..200) {
        let (mut world, mut brake) = (World::new(0, 0, takes), Brake::default());
        world.good = true;
        world.run(&mut brake, needed, 0, 2 * HOUR);
        prop_assert_eq!(world.serving.len(), needed as usize);
        let most = 2 + usize::try_from(takes / 60).unwrap();
        prop_assert!(world.asked <= most, "{} questions", world.asked);
    }
}
