//! Whole rolls: each instance decides for itself by what it sees, whatever changes in the middle of it.

use super::*;
use AwsState::{InService, Pending};
use proptest::prelude::*;

#[derive(Debug, Clone)]
struct Machine {
    /// When it was launched: together with others, it may be.
    launched: Timestamp,
    /// The settings that it booted with; none before it read them.
    booted_with: Option<u8>,
    seen: SettingsSeen,
    /// It has looked since the settings changed last.
    has_looked: bool,
    draining: bool,
}

/// A group that lacks nothing but what the roll takes.
#[derive(Debug)]
struct World {
    rollout: Rollout,
    machines: BTreeMap<String, Machine>,
    settings: u8,
    launches: usize,
    at_once: u32,
    now: i64,
    moves: usize,
}

impl World {
    fn new(count: usize, at_once: u32) -> Self {
        let rollout = Rollout {
            min: 0,
            desired: i32::try_from(count).unwrap(),
            template: version(1),
            peers: Vec::new(),
        };
        let mut world =
            Self { rollout, machines: BTreeMap::new(), settings: 0, launches: 0, at_once, now: 0, moves: 0 };
        for _ in 0..count {
            let id = world.launch();
            world.read(&id);
            world.arrive(&id);
        }
        world
    }

    fn launch(&mut self) -> String {
        self.launches += 1;
        // New ids come before and after the old ones.
        let id = format!("i-{:04}", (self.launches * 3701) % 9973);
        let (state, template) = (Pending, self.rollout.template.clone());
        self.rollout.peers.push(Peer { id: id.clone(), state, template });
        let launched = Timestamp::from_second(self.now / 3).unwrap();
        let seen = SettingsSeen::default();
        let machine = Machine { launched, booted_with: None, seen, has_looked: false, draining: false };
        self.machines.insert(id.clone(), machine);
        id
    }

    fn state(&mut self, id: &str) -> &mut AwsState {
        &mut self.rollout.peers.iter_mut().find(|peer| peer.id == id).unwrap().state
    }

    fn read(&mut self, id: &str) {
        let settings = self.settings;
        self.machines.get_mut(id).unwrap().booted_with.get_or_insert(settings);
    }

    fn arrive(&mut self, id: &str) {
        if self.machines[id].booted_with.is_some() {
            *self.state(id) = InService;
        }
    }

    fn look(&mut self, id: &str) {
        if *self.state(id) != InService || self.machines[id].draining {
            return;
        }
        let launched = self.machines.iter().map(|(id, machine)| (id.clone(), machine.launched)).collect();
        let elders = self.rollout.elders_of(id, &launched);
        let machine = self.machines.get_mut(id).unwrap();
        machine.has_looked = true;
        machine.seen.look(id, machine.booted_with != Some(self.settings), &self.rollout);
        let turn = self.rollout.turn_of(id, &machine.seen, &elders, self.at_once);
        if turn.is_some() {
            assert!(self.rollout.concerns(id, &machine.seen), "the order was asked for");
            machine.draining = true;
            self.moves += 1;
        }
    }

    /// Its jobs are done: it leaves, and AWS launches its successor.
    fn leave(&mut self, id: &str) {
        if self.machines[id].draining {
            self.machines.remove(id);
            self.rollout.peers.retain(|peer| peer.id != id);
            self.launch();
        }
    }

    fn change_settings(&mut self, to: u8) {
        self.settings = to;
        for machine in self.machines.values_mut() {
            machine.has_looked = false;
        }
    }

    /// How many are away for the roll's sake: nobody else takes any.
    fn away(&self) -> usize {
        let pending = self.rollout.peers.iter().filter(|peer| peer.state == Pending).count();
        pending + self.machines.values().filter(|machine| machine.draining).count()
    }

    fn outdated(&self) -> usize {
        let old = |peer: &&Peer| {
            self.rollout.is_outdated(peer) || self.machines[&peer.id].booted_with != Some(self.settings)
        };
        self.rollout.peers.iter().filter(old).count()
    }

    fn ids(&self) -> Vec<String> {
        self.rollout.peers.iter().map(|peer| peer.id.clone()).collect()
    }

    fn step(&mut self, which: usize, what: u8, to: u8, patiently: bool) {
        self.now += 1;
        let id = self.ids()[which % self.machines.len()].clone();
        match what {
            0..=9 => self.look(&id),
            10..=14 => self.leave(&id),
            15..=18 => self.read(&id),
            19..=22 => self.arrive(&id),
            // Who changes settings patiently waits until all have seen the last ones.
            23 if !patiently
                || self.machines.values().all(|machine| machine.has_looked || machine.draining) =>
            {
                self.change_settings(to);
            }
            24 => self.rollout.template = version(u64::from(to) + 1),
            _ => {}
        }
    }
}

fn version(version: u64) -> Option<TemplateVersion> {
    Some(TemplateVersion { template: "lt-1".to_owned(), version: version.to_string() })
}

fn moves() -> impl Strategy<Value = Vec<(usize, u8, u8)>> {
    proptest::collection::vec((0..9usize, 0..25u8, 0..3u8), 100..500)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    /// Templates newer and older, settings changed and taken back at any time: never more are away than allowed.
    #[test]
    fn never_more_are_away_whatever_changes_when(count in 1..9usize, at_once in 1..4u32, moves in moves()) {
        let mut world = World::new(count, at_once);
        for (which, what, to) in moves {
            world.step(which, what, to, false);
            prop_assert!(world.away() <= at_once as usize, "{world:?}");
        }
    }

    /// Where settings stay until all have seen them every roll ends, with all up to date, and nobody goes after that.
    #[test]
    fn every_roll_ends(count in 1..9usize, at_once in 1..4u32, moves in moves()) {
        let mut world = World::new(count, at_once);
        for (which, what, to) in moves {
            world.step(which, what, to, true);
            prop_assert!(world.away() <= at_once as usize, "{world:?}");
        }
        let mut settled = 0;
        for _ in 0..100 {
            let before = world.moves;
            for id in world.ids() {
                world.now += 1;
                world.read(&id);
                world.arrive(&id);
                world.look(&id);
                world.leave(&id);
                prop_assert!(world.away() <= at_once as usize, "{world:?}");
            }
            settled = if world.moves == before && world.away() == 0 { settled + 1 } else { 0 };
        }
        prop_assert_eq!(world.outdated(), 0, "{:?}", world);
        prop_assert!(settled > 50, "somebody goes without need: {world:?}");
    }
}
