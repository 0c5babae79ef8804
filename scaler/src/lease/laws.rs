//! Scalers with clocks of their own speed, whose calls take their time, which crash and freeze anywhere.

use proptest::prelude::*;

use super::*;

/// Thousandths of a second, of the one true time.
type Millis = u64;

/// A call that was sent and has not been answered.
#[derive(Debug, Clone)]
enum Call {
    Read { answer: Option<Option<Held>> },
    Take { over: Option<Held>, to_be: Held, asked: Moment, answer: Option<bool> },
}

#[derive(Debug, Clone)]
struct Scaler {
    lease: Lease,
    /// Thousandths that its clocks tell in a true second.
    speed: u64,
    /// What the wall clock is ahead.
    ahead: i64,
    /// For so long it was frozen.
    frozen: Millis,
    call: Option<Call>,
    /// Lowers until then, at most.
    until: Option<Millis>,
    births: u32,
}

impl Scaler {
    fn new(name: usize, speed: u64, ahead: i64) -> Self {
        let lease = Lease::new(format!("{name}.0"));
        Self { lease, speed, ahead, frozen: 0, call: None, until: None, births: 0 }
    }

    fn now(&self, now: Millis) -> Moment {
        let told = |true_time: Millis| true_time * self.speed / 1000;
        let wall = i64::try_from(told(now)).unwrap() + self.ahead;
        Moment {
            steady: Duration::from_millis(told(now - self.frozen)),
            wall: Timestamp::from_millisecond(wall).unwrap(),
        }
    }

    fn follow(&mut self, next: Next, now: Millis) {
        match next {
            Next::Lower(within) => {
                let within = u64::try_from(within.as_millis()).unwrap() * 1000 / self.speed;
                self.until = Some(now + within);
            }
            Next::Leave(_) => {}
            Next::Read => self.call = Some(Call::Read { answer: None }),
            Next::Take { over, to_be } => {
                self.lease.asks(&to_be);
                self.call = Some(Call::Take { over, to_be, asked: self.now(now), answer: None });
            }
        }
    }
}

#[derive(Debug, Clone)]
enum Happening {
    Time(Millis),
    /// It wants to lower.
    Wish(usize),
    /// Its call reaches the table.
    Lands(usize),
    /// The answer reaches it.
    Answered(usize),
    /// Or never does.
    Lost(usize),
    Crash(usize),
    Freeze(usize, Millis),
    WallIsSet(usize, i64),
    Leaves(usize),
}

const COUNT: usize = 3;

fn happening() -> impl Strategy<Value = Happening> {
    let one = || 0..COUNT;
    prop_oneof![
        4 => (0u64..9000).prop_map(Happening::Time),
        6 => one().prop_map(Happening::Wish),
        6 => one().prop_map(Happening::Lands),
        6 => one().prop_map(Happening::Answered),
        1 => one().prop_map(Happening::Lost),
        1 => one().prop_map(Happening::Crash),
        1 => (one(), 0u64..60_000).prop_map(|(who, time)| Happening::Freeze(who, time)),
        1 => (one(), -600_000i64..600_000).prop_map(|(who, time)| Happening::WallIsSet(who, time)),
        1 => one().prop_map(Happening::Leaves),
    ]
}

struct World {
    now: Millis,
    table: Option<Held>,
    scalers: Vec<Scaler>,
    /// Nobody set a wall clock: only then a frozen process can tell that it was.
    walls_are_right: bool,
}

impl World {
    fn new(speeds: &[u64]) -> Self {
        let scalers =
            speeds.iter().enumerate().map(|(n, speed)| Scaler::new(n, *speed, 3_600_000 * n as i64));
        Self { now: 600_000, table: None, scalers: scalers.collect(), walls_are_right: true }
    }

    fn happens(&mut self, happening: &Happening) {
        let now = self.now;
        match *happening {
            Happening::Time(time) => self.now += time,
            Happening::Wish(who) => {
                let scaler = &mut self.scalers[who];
                if scaler.call.is_none() {
                    let next = scaler.lease.wish(&scaler.now(now));
                    scaler.follow(next, now);
                }
            }
            Happening::Lands(who) => match &mut self.scalers[who].call {
                Some(Call::Read { answer: answer @ None }) => *answer = Some(self.table.clone()),
                Some(Call::Take { over, to_be, answer: answer @ None, .. }) => {
                    let won = self.table == *over;
                    if won {
                        self.table = Some(to_be.clone());
                    }
                    *answer = Some(won);
                }
                _ => {}
            },
            Happening::Answered(who) => {
                let scaler = &mut self.scalers[who];
                let moment = scaler.now(now);
                match scaler.call.take() {
                    Some(Call::Read { answer: Some(there) }) => {
                        let next = scaler.lease.read(there, &moment);
                        scaler.follow(next, now);
                    }
                    Some(Call::Take { to_be, asked, answer: Some(won), .. }) => {
                        scaler.lease.took(&to_be, won, asked);
                        let next = scaler.lease.wish(&moment);
                        scaler.follow(next, now);
                    }
                    under_way => scaler.call = under_way,
                }
            }
            Happening::Lost(who) => self.scalers[who].call = None,
            Happening::Crash(who) => {
                let Scaler { speed, ahead, births, .. } = self.scalers[who];
                let lease = Lease::new(format!("{who}.{}", births + 1));
                self.scalers[who] = Scaler { lease, births: births + 1, ..Scaler::new(who, speed, ahead) };
            }
            Happening::Freeze(who, time) => {
                // What it is at has been sent; it does nothing else until it goes on.
                let scaler = &mut self.scalers[who];
                (scaler.until, scaler.frozen) = (None, scaler.frozen + time);
                self.now += time;
            }
            Happening::WallIsSet(who, ahead) => {
                self.scalers[who].ahead = ahead;
                self.walls_are_right = false;
            }
            Happening::Leaves(who) => {
                let scaler = &mut self.scalers[who];
                scaler.until = None;
                if let Some(held) = scaler.lease.give_up()
                    && self.table.as_ref() == Some(&held)
                {
                    self.table = None;
                }
            }
        }
    }

    fn lowerers(&self) -> usize {
        self.scalers.iter().filter(|scaler| scaler.until.is_some_and(|until| self.now < until)).count()
    }
}

fn speeds() -> impl Strategy<Value = Vec<u64>> {
    proptest::collection::vec(900u64..=1100, COUNT)
}

proptest! {
    #[test]
    fn never_two_lower_at_once(speeds in speeds(), happenings in proptest::collection::vec(happening(), 1..400)) {
        let mut world = World::new(&speeds);
        for happening in &happenings {
            // Frozen and a wall clock set back at the same time: then nothing tells the process how long it slept.
            if matches!(happening, Happening::WallIsSet(..)) && world.scalers.iter().any(|s| s.frozen > 0) {
                continue;
            }
            if matches!(happening, Happening::Freeze(..)) && !world.walls_are_right {
                continue;
            }
            world.happens(happening);
            prop_assert!(world.lowerers() <= 1, "{:?} at {}", world.scalers, world.now);
        }
    }

    /// Whatever was before: one that is left alone with its wish may lower within the time that the docs name.
    #[test]
    fn a_wish_is_granted_within_silent_and_two_looks(
        speeds in speeds(),
        happenings in proptest::collection::vec(happening(), 0..200),
        every in 100u64..4000,
    ) {
        let mut world = World::new(&speeds);
        for happening in &happenings {
            world.happens(happening);
        }
        world.happens(&Happening::Lost(0));
        let began = world.now;
        world.scalers[0].until = None;
        while world.scalers[0].until.is_none() {
            for _ in 0..6 {
                for step in [Happening::Wish(0), Happening::Lands(0), Happening::Answered(0)] {
                    world.happens(&step);
                }
                if world.scalers[0].until.is_some() || world.scalers[0].call.is_none() {
                    break;
                }
            }
            let silent = u64::try_from(SILENT.as_millis()).unwrap() * 1000 / 900;
            prop_assert!(world.now - began <= silent + 2 * every, "after {}", world.now - began);
            world.now += every;
        }
    }
}
