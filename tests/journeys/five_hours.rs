//! A roll on the lab's clock: the deciding code of the instances and of the group, hours in milliseconds.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use lab::group::apply::Order;
use lab::group::decide::{Step, reconcile};
use lab::group::model::{Definition, Group, Hook, Lifecycle, TemplateRef, Transition};
use lifecycle::rollout::{Peer, Rollout, SettingsSeen, TemplateVersion};
use lifecycle::{Action, AwsState, Observed, Outcome, Policy, Reason, Refusal, State, decide};
use proptest::prelude::*;

const HOOK: &str = "terminating";
const LOOK: SignedDuration = SignedDuration::from_secs(30);
const BOOT: SignedDuration = SignedDuration::from_secs(90);

struct Machine {
    seen: Observed,
    up: Timestamp,
    job_until: Option<Timestamp>,
}

struct Roll {
    group: Group,
    machines: BTreeMap<String, Machine>,
    policy: Policy,
    now: Timestamp,
    launched: u32,
    /// Jobs that ended as they should.
    done: usize,
    most_away: usize,
}

fn definition(count: u32) -> Definition {
    Definition {
        name: "g".into(),
        arn: "arn".into(),
        min: 0,
        max: count,
        protect_new: true,
        zones: vec!["a".into(), "b".into()],
        subnets: String::new(),
        template: TemplateRef { id: "lt-1".into(), name: "t".into(), version: "1".into() },
        types: Vec::new(),
        mixed: None,
        grace: SignedDuration::ZERO,
        warm: 0,
        hooks: vec![Hook {
            name: HOOK.into(),
            transition: Transition::Terminating,
            heartbeat: SignedDuration::from_secs(1800),
            silence_continues: true,
        }],
        tags: Vec::new(),
        created: Timestamp::UNIX_EPOCH,
    }
}

impl Roll {
    fn new(count: u32, at_once: u32) -> Self {
        let policy = Policy {
            in_group: true,
            idle_period: Some(SignedDuration::from_hours(100)),
            fail_safe_after: None,
            has_hook: true,
            heartbeat_interval: SignedDuration::from_secs(300),
            update_check: SignedDuration::from_secs(60),
            update_concurrency: at_once,
            max_age: None,
            after_job: false,
            drain_on_rebalance: false,
            spot_grace: SignedDuration::from_secs(60),
        };
        let mut group = Group::new(definition(count));
        let now = Timestamp::UNIX_EPOCH;
        group.set_desired(count, now).unwrap();
        let machines = BTreeMap::new();
        Self { group, machines, policy, now, launched: 0, done: 0, most_away: 0 }
    }

    /// One look of everybody.
    fn look(&mut self) {
        self.now += LOOK;
        self.settle();
        let ids: Vec<String> = self.machines.keys().cloned().collect();
        for id in ids {
            self.machine_looks(&id);
        }
        self.settle();
        let draining = self.machines.values().filter(|m| m.seen.state.reason().is_some());
        let there = self.group.in_service();
        let away = (self.group.desired as usize).saturating_sub(there)
            + draining.filter(|m| m.seen.target == Some(AwsState::InService)).count();
        self.most_away = self.most_away.max(away);
    }

    /// The group takes its steps.
    fn settle(&mut self) {
        loop {
            let steps = reconcile(&self.group, self.now);
            if steps.is_empty() {
                return;
            }
            for step in steps {
                if let Step::Launch { zone, .. } = &step {
                    self.launch(zone.clone());
                }
                if let Step::End { id } = &step {
                    let gone = self.machines.remove(id).unwrap();
                    assert_eq!(gone.job_until, None, "{id} ended beneath its job at {}", self.now);
                }
                self.group.apply(&step, self.now);
            }
        }
    }

    fn launch(&mut self, zone: String) {
        self.launched += 1;
        // New ids come before and after the old ones.
        let id = format!("i-{:03}", (self.launched * 37) % 101);
        let template_version = self.group.definition.template.version.clone();
        let order = Order { id: id.clone(), zone, instance_type: "t".into(), template_version, warm: false };
        self.group.ordered(order, self.now);
        self.group.came_up(&id);
        let seen = Observed { logs: Some(false), ..Observed::new(State::Booting, self.now) };
        self.machines.insert(id, Machine { seen, up: self.now + BOOT, job_until: None });
    }

    fn machine_looks(&mut self, id: &str) {
        let target = self.group.member(id).map(|m| AwsState::from(m.lifecycle.target()));
        let machine = self.machines.get_mut(id).unwrap();
        machine.seen.target = target;
        if machine.job_until.is_some_and(|end| self.now >= end) {
            machine.job_until = None;
            self.done += 1;
            machine.seen.job_over(0, self.now);
        }
        let left = machine.seen.agents_told && machine.job_until.is_none();
        machine.seen.agents = Some(usize::from(self.now >= machine.up && !left));
        loop {
            let steps = decide(&self.policy, &self.machines[id].seen, self.now);
            if steps.is_empty() {
                return;
            }
            for step in steps {
                self.carry_out(id, step.step);
            }
        }
    }

    fn carry_out(&mut self, id: &str, action: Action) {
        let group = &mut self.group;
        let ids = [id.to_owned()];
        let done = match action {
            Action::DescribeInstance => Ok(Outcome::Protected(group.member(id).unwrap().protected)),
            Action::DescribeRollout => {
                let (seen, settings) = (rollout(group), SettingsSeen::default());
                let launched = group.members.iter().map(|m| (m.id.clone(), m.launched)).collect();
                let elders = seen.elders_of(id, &launched);
                let turn = seen.turn_of(id, &settings, &elders, self.policy.update_concurrency);
                Ok(Outcome::Turn(turn.filter(|_| seen.concerns(id, &settings))))
            }
            Action::Protect => group.set_protection(&ids, true).map(|()| Outcome::Done),
            Action::Heartbeat => group.heartbeat(id, HOOK, self.now).map(|()| Outcome::Done),
            Action::Complete => group.complete(id, HOOK, true, self.now).map(|()| Outcome::Done),
            Action::Replace => group.terminate(id, false, self.now).map(|_| Outcome::Done),
            Action::BeReady | Action::StopAgents | Action::Drain(Reason::Update) => Ok(Outcome::Done),
            Action::Admit => Ok(Outcome::Jobs(1)),
            other => panic!("{id}: {other:?} has no place in a roll"),
        };
        let (now, seen) = (self.now, &mut self.machines.get_mut(id).unwrap().seen);
        match done {
            Ok(outcome) => seen.succeed(action, outcome, now).unwrap(),
            Err(refused) => {
                seen.fail(action, &Refusal::Failed(refused.to_string()), LOOK, now).unwrap();
            }
        }
    }

    /// A job comes to an instance that takes jobs.
    fn start_job(&mut self, id: &str, length: SignedDuration) {
        let now = self.now;
        let machine = self.machines.get_mut(id).unwrap();
        machine.seen.waiting_since = Some(now);
        self.machine_looks(id);
        let machine = self.machines.get_mut(id).unwrap();
        assert_eq!(machine.seen.jobs, 1, "it was not let in: {:?}", machine.seen);
        machine.job_until = Some(now + length);
    }

    fn idle(&self) -> Vec<String> {
        let idle = |m: &Machine| m.seen.state == State::Ready;
        self.machines.iter().filter(|(_, m)| idle(m)).map(|(id, _)| id.clone()).collect()
    }

    fn is_rolled(&self) -> bool {
        let members = &self.group.members;
        members.iter().all(|m| m.template_version == "2" && m.lifecycle == Lifecycle::InService)
            && members.len() == self.group.desired as usize
    }
}

fn rollout(group: &Group) -> Rollout {
    let named = |version: &str| TemplateVersion { template: "lt-1".into(), version: version.into() };
    let peer = |m: &lab::group::model::Member| Peer {
        id: m.id.clone(),
        state: AwsState::from(m.lifecycle.word()),
        template: Some(named(&m.template_version)),
    };
    Rollout {
        min: 0,
        desired: group.desired.try_into().unwrap(),
        template: Some(named(&group.definition.template.version)),
        peers: group.members.iter().map(peer).collect(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_five_hour_job_survives_a_roll_and_so_do_all_others(
        count in 1..8u32,
        at_once in 1..4u32,
        holder in 0..8usize,
        minutes in proptest::collection::vec(1..50i64, 200),
    ) {
        let mut roll = Roll::new(count, at_once);
        while roll.idle().len() < count as usize {
            roll.look();
        }
        let (begun, five_hours) = (roll.now, SignedDuration::from_hours(5));
        let long = roll.idle()[holder % count as usize].clone();
        roll.start_job(&long, five_hours);
        roll.group.definition.template.version = "2".into();
        let mut started = 1;
        roll.most_away = 0;
        let mut minutes = minutes.into_iter();
        while !roll.is_rolled() || roll.done < started {
            roll.look();
            // Work goes on for the first six hours.
            if roll.now.duration_since(begun) < SignedDuration::from_hours(6) {
                for id in roll.idle() {
                    if let Some(length) = minutes.next() {
                        roll.start_job(&id, SignedDuration::from_mins(length));
                        started += 1;
                    }
                }
            }
            let took = roll.now.duration_since(begun);
            if took < five_hours {
                prop_assert!(roll.machines.contains_key(&long), "gone after {took:#}");
            }
            prop_assert_eq!(roll.group.desired, count);
            prop_assert!(took < SignedDuration::from_hours(60), "no end: {:?}", roll.group.members);
        }
        prop_assert!(!roll.machines.contains_key(&long));
        prop_assert!(roll.most_away <= at_once as usize, "{} were away at once", roll.most_away);
        prop_assert_eq!(roll.done, started, "every job ended as it should");
        prop_assert_eq!(roll.launched, 2 * count, "each instance has one successor");
    }
}
