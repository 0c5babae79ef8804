//! The small case, wholly: two instances, three jobs, and everything that can happen in any order of four.

use jiff::SignedDuration;
use scaler::gap::ScalingMode;
use scaler::schedule::Schedule;

use crate::aws::{Calls, group};
use crate::ci::Answers;
use crate::table::Table;
use crate::world::World;

/// What can happen, apart from what follows from it.
#[derive(Debug, Clone, Copy)]
enum Happening {
    /// Time for a tick and some looks.
    Moment,
    /// Jobs end, and idle instances lose their protection.
    While,
    JobComes,
    JobSlipsIn,
    CallsFail,
    CallsWork,
    CiFails,
    WatchFalls,
    ScalerFalls,
    GroupEndsOne,
    DesiredIsNone,
}

const ALL: [Happening; 11] = [
    Happening::Moment,
    Happening::While,
    Happening::JobComes,
    Happening::JobSlipsIn,
    Happening::CallsFail,
    Happening::CallsWork,
    Happening::CiFails,
    Happening::WatchFalls,
    Happening::ScalerFalls,
    Happening::GroupEndsOne,
    Happening::DesiredIsNone,
];

const LONG: SignedDuration = SignedDuration::from_secs(70);

/// Two instances are busy, and a third job waits.
fn busy() -> World {
    let mut world = World::new(1);
    let now = world.now();
    world.aws().groups = vec![group("only", 0, 2, now)];
    world.policy.idle_period = Some(SignedDuration::from_secs(20));
    world.policy.after_job = false;
    world.stacks.truncate(1);
    world.stacks[0].groups = 0..1;
    world.stacks[0].order.policy.agents_per_instance = 1;
    world.stacks[0].order.most = 2;
    world.stacks[0].order.mode = ScalingMode::Direct;
    world.stacks[0].lists = true;
    world.stacks[0].table = Some(Table::default());
    world.stacks[0].order.policy.idle_instances = 0;
    world.stacks[0].schedule = Schedule::default();
    // Calls fail until they are said to work.
    world.fault_until = jiff::Timestamp::MAX;
    world.scalers.truncate(1);
    world.restart(0);
    let jobs = [SignedDuration::from_secs(40), SignedDuration::from_secs(150), SignedDuration::from_secs(90)];
    world.ci().scheduled = jobs.to_vec();
    for _ in 0..100 {
        if world.machines.values().map(|machine| machine.jobs.len()).sum::<usize>() == 2 {
            return world;
        }
        world.pass(SignedDuration::from_secs(2));
    }
    unreachable!("two jobs never ran: {:?}", world.ci());
}

impl World {
    fn small(&mut self, happening: Happening) {
        match happening {
            Happening::Moment => {}
            Happening::While => self.pass(LONG),
            Happening::JobComes => self.ci().scheduled.push(SignedDuration::from_secs(60)),
            Happening::JobSlipsIn => self.job_slips_in(),
            Happening::CallsFail => self.aws().calls = Calls::Fail,
            Happening::CallsWork => self.aws().calls = Calls::Work,
            Happening::CiFails => self.ci().answers = Answers::Not,
            Happening::WatchFalls => {
                if let Some(machine) = self.machines.values_mut().next() {
                    machine.falls_after = Some(0);
                }
            }
            Happening::ScalerFalls => self.restart(0),
            Happening::GroupEndsOne => {
                let id = self.machines.keys().next().cloned().unwrap_or_default();
                let (now, mut aws) = (self.now(), self.aws());
                let _ = aws.groups[0].terminate(&id, true, now);
            }
            Happening::DesiredIsNone => {
                let (now, mut aws) = (self.now(), self.aws());
                let _ = aws.groups[0].set_desired(0, now);
            }
        }
        self.pass(SignedDuration::from_secs(12));
    }
}

/// In any order of four, no job is killed, and all comes to rest.
pub fn explore() -> usize {
    let orders = ALL.len().pow(4);
    for order in 0..orders {
        let mut world = busy();
        let mut rest = order;
        let mut happened = Vec::new();
        for _ in 0..4 {
            let happening = ALL[rest % ALL.len()];
            rest /= ALL.len();
            happened.push(happening);
            world.told = format!("{happened:?}");
            world.small(happening);
        }
        world.heal();
        world.finish_jobs();
        world.returns_to_the_minimum();
    }
    orders
}
