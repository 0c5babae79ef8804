//! What happens to a world: jobs, faults, crashes, operators, EC2.

use std::sync::Arc;

use jiff::Timestamp;
use lab::group::model::{Definition, Group, Lifecycle, Member};
use lifecycle::observed::Word;
use rand::RngExt as _;
use scaler::hint::{Event, Hint};

use crate::aws::Calls;
use crate::ci::Answers;
use crate::machine::{Machine, Stage};
use crate::table::Answers as Tables;
use crate::world::{LONGEST_FAULT, World, lock, seconds};

impl World {
    /// Something, and the time after it.
    pub fn happen(&mut self) {
        self.transitions += 1;
        match self.rng.random_range(0..100) {
            0..30 => self.jobs_come(),
            30..36 => self.calls_fail(),
            36..41 => self.ci_fails(),
            41..44 => self.metadata_fails(),
            44..50 => self.someone_crashes(),
            50..53 => self.operator_speaks(),
            53..56 => self.operator_resizes(),
            56..58 => self.operator_terminates(),
            58..60 => self.spot_notice(),
            60..61 => self.machine_dies(),
            61..63 => self.good_image = !self.good_image,
            63..65 => self.capacity = !self.capacity,
            65..66 => self.template_changes(),
            66..69 => self.job_slips_in(),
            69..71 => self.slow_boots = !self.slow_boots,
            71..72 => self.hanging = self.rng.random_range(1..=3),
            72..80 => self.build_is_announced(),
            80..82 => self.clock_is_set(),
            82..83 => self.limits_change(),
            83..84 => self.group_is_replaced(),
            84..86 => self.zones_are_balanced(),
            86..87 => self.rebalance_is_recommended(),
            87..90 => self.table_fails(),
            90..92 => self.queue_is_paused(),
            92..93 => self.jobs_of_others_come(),
            _ => {}
        }
        let pass = match self.rng.random_range(0..10) {
            0..6 => self.rng.random_range(1..=5),
            6..9 => self.rng.random_range(5..=60),
            _ => self.rng.random_range(60..=900),
        };
        self.pass(seconds(pass));
    }

    fn jobs_come(&mut self) {
        for _ in 0..self.rng.random_range(1..=6) {
            let length = if self.rng.random_bool(0.05) { 7200 } else { 300 };
            let length = seconds(self.rng.random_range(1..=length));
            self.ci().scheduled.push(length);
        }
    }

    /// May another fault begin? It lasts for so long at most.
    fn fault(&mut self, longest: i64) -> bool {
        let now = self.now();
        let may = now >= self.fault_until + seconds(LONGEST_FAULT);
        if may {
            self.fault_until = now + seconds(self.rng.random_range(1..=longest));
        }
        may
    }

    pub fn end_faults(&mut self) {
        self.aws().calls = Calls::Work;
        self.metadata = true;
    }

    fn metadata_fails(&mut self) {
        self.metadata = !self.fault(LONGEST_FAULT) && self.metadata;
    }

    fn calls_fail(&mut self) {
        use Calls::{Fail, Late, LoseAnswers, NoWrites, Stale, Throttle, Twice};
        let calls = [Fail, Throttle, NoWrites, LoseAnswers, Stale, Late, Twice];
        let calls = calls[self.rng.random_range(0..calls.len())];
        // Answers from long ago are not what AWS gives.
        let longest = if calls == Calls::Stale { 30 } else { LONGEST_FAULT };
        if !self.fault(longest) {
            return;
        }
        let mut aws = self.aws();
        aws.calls = calls;
        aws.past = aws.groups.clone();
    }

    fn ci_fails(&mut self) {
        let now = self.now();
        let mut ci = lock(&self.ci);
        ci.answers = match self.rng.random_range(0..5) {
            0 => Answers::Now,
            1 => Answers::Not,
            2 => Answers::Stale(ci.jobs()),
            3 => Answers::Old(ci.jobs(), now),
            _ => Answers::Partly(ci.jobs(), self.rng.random_range(0..=6)),
        };
    }

    fn table_fails(&mut self) {
        let answers = [Tables::Now, Tables::Not, Tables::Throttled, Tables::Lost];
        let answers = answers[self.rng.random_range(0..answers.len())];
        let which = self.rng.random_range(0..self.stacks.len());
        self.stacks[which].table.iter().for_each(|table| table.answer(answers));
    }

    /// Somebody pauses the queue, or lets it go on.
    fn queue_is_paused(&mut self) {
        let mut ci = self.ci();
        ci.paused = !ci.paused;
    }

    /// Jobs that only agents of another kind could run, where that can be told.
    fn jobs_of_others_come(&mut self) {
        if self.stacks.iter().all(|stack| stack.lists) {
            self.ci().of_others = self.rng.random_range(0..=4);
        }
    }

    fn someone_crashes(&mut self) {
        if self.rng.random_bool(0.5) {
            let which = self.rng.random_range(0..self.scalers.len());
            match self.rng.random_range(0..10) {
                0..2 => self.restart(which),
                2..4 => self.replace(which),
                // Within a tick, at any of its calls.
                _ => self.scalers[which].falls_after = Some(self.rng.random_range(0..=9)),
            }
            return;
        }
        let deeds = self.rng.random_range(0..3);
        if let Some(machine) = self.any_machine() {
            machine.falls_after = Some(deeds);
        }
    }

    fn any_machine(&mut self) -> Option<&mut Machine> {
        let count = self.machines.len();
        let which = self.rng.random_range(0..count.max(1));
        self.machines.values_mut().nth(which)
    }

    /// A build, and hints of it: lost, delivered once or twice to whom it may concern; its jobs come, more, fewer, or none.
    fn build_is_announced(&mut self) {
        let jobs = if self.rng.random_bool(0.02) { u32::MAX } else { self.rng.random_range(1..=6) };
        self.builds += 1;
        let hint = Hint {
            event: Event::BuildScheduled,
            pipeline: Some("app".to_owned()),
            build: Some(self.builds.to_string()),
            job: None,
            queue: None,
            jobs: self.rng.random_bool(0.7).then_some(jobs),
            listed: None,
        };
        let now = self.now();
        for which in 0..self.scalers.len() {
            let raises_only = self.rng.random_bool(0.3);
            for _ in 0..self.rng.random_range(0..=2) {
                let scaler = &mut self.scalers[which];
                scaler.heard.hear(&hint, "default", scaler.wall(now));
                (scaler.next, scaler.raises_only) = (now, raises_only);
            }
        }
        let come = match self.rng.random_range(0..4) {
            0 => 0,
            1 => self.rng.random_range(1..=12),
            _ => jobs.min(6),
        };
        self.announced.push((now + seconds(self.rng.random_range(1..=150)), come));
    }

    /// The jobs of builds that were announced come.
    pub fn builds_begin(&mut self, now: Timestamp) {
        let due: Vec<_> = self.announced.extract_if(.., |(at, _)| *at <= now).collect();
        for (_, jobs) in due {
            let lengths: Vec<_> = (0..jobs).map(|_| seconds(self.rng.random_range(1..=300))).collect();
            self.ci().scheduled.extend(lengths);
        }
    }

    /// An operator gives a group other limits: AWS moves desired capacity into them.
    fn limits_change(&mut self) {
        let mut aws = lock(&self.aws);
        let which = self.rng.random_range(0..aws.groups.len());
        let max = self.rng.random_range(1..=8);
        let min = if self.rng.random_bool(0.2) { 1 } else { 0 };
        let group = &mut aws.groups[which];
        let definition = Definition { min, max, ..group.definition.clone() };
        group.redefine(definition);
    }

    /// A group is deleted with all that it holds, and another one of its name comes, which has no past.
    fn group_is_replaced(&mut self) {
        let mut aws = lock(&self.aws);
        let mut ci = lock(&self.ci);
        let which = self.rng.random_range(0..aws.groups.len());
        for machine in self.machines.values_mut().filter(|machine| machine.group == which) {
            machine.dies(&mut aws, &mut ci);
        }
        self.machines.retain(|_, machine| machine.group != which);
        let definition = aws.groups[which].definition.clone();
        aws.groups[which] = Group::new(definition.clone());
        // What was true of another group is no stale answer of this one.
        aws.past[which] = Group::new(definition);
    }

    /// AWS balances the zones: it ends an instance that nobody protects, and launches another one.
    fn zones_are_balanced(&mut self) {
        let mut aws = lock(&self.aws);
        let now = aws.now;
        let which = self.rng.random_range(0..aws.groups.len());
        let idle = |member: &&Member| {
            member.lifecycle == Lifecycle::InService && !member.protected && member.healthy
        };
        if let Some(id) = aws.groups[which].members.iter().find(idle).map(|member| member.id.clone()) {
            let ended = aws.groups[which].terminate(&id, false, now);
            assert!(ended.is_ok(), "{ended:?}");
        }
    }

    fn rebalance_is_recommended(&mut self) {
        if let Some(machine) = self.any_machine() {
            machine.seen.notices.rebalance = true;
        }
    }

    fn operator_speaks(&mut self) {
        let words = [Word::Cordon, Word::Serve, Word::Serve, Word::Drain, Word::DrainNow];
        let word = words[self.rng.random_range(0..words.len())];
        if let Some(machine) = self.any_machine() {
            machine.said(word);
        }
    }

    fn operator_resizes(&mut self) {
        let mut aws = lock(&self.aws);
        let which = self.rng.random_range(0..aws.groups.len());
        let now = aws.now;
        let group = &mut aws.groups[which];
        let desired = self.rng.random_range(group.definition.min..=group.definition.max);
        group.set_desired(desired, now).expect("within its limits");
        self.by_hand = true;
    }

    fn operator_terminates(&mut self) {
        let decrement = self.rng.random_bool(0.5);
        let Some((id, index)) = self.any_machine().map(|machine| (machine.id.clone(), machine.group)) else {
            return;
        };
        let mut aws = self.aws();
        let now = aws.now;
        // One that is being launched cannot be decremented beneath the minimum: AWS says so.
        let _ = aws.groups[index].terminate(&id, decrement, now);
    }

    fn spot_notice(&mut self) {
        let at = self.now() + seconds(120);
        if let Some(machine) = self.any_machine() {
            machine.spot.get_or_insert(at);
            machine.excused = true;
        }
    }

    fn machine_dies(&mut self) {
        let (aws, ci) = (Arc::clone(&self.aws), Arc::clone(&self.ci));
        if let Some(machine) = self.any_machine().filter(|machine| machine.stage != Stage::Dead) {
            machine.dies(&mut lock(&aws), &mut lock(&ci));
        }
    }

    fn template_changes(&mut self) {
        let mut aws = self.aws();
        for group in &mut aws.groups {
            let version: u32 = group.definition.template.version.parse().expect("a number");
            group.definition.template.version = (version + 1).to_string();
        }
    }

    pub fn job_slips_in(&mut self) {
        let (now, ci) = (self.now(), Arc::clone(&self.ci));
        for machine in self.machines.values_mut() {
            machine.take_job(&mut lock(&ci), now, true);
        }
    }
}
