//! A restart between two ticks changes no decision, as long as what was learned is on the table.

use std::sync::Arc;

use proptest::prelude::*;

use super::tests::{Stage, counts, order};
use super::*;
use crate::decide::Capacity;
use crate::hint::heard::Heard;
use crate::hint::parse;

/// What happens before a tick.
#[derive(Debug, Clone)]
enum Event {
    Nothing,
    Launched(usize),
    BootFailed(usize),
    Update(usize),
    Announced(u8, u8),
    JobCame(u8, u8),
    BuildEnded(u8),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => Just(Event::Nothing),
        2 => (0usize..2).prop_map(Event::Launched),
        2 => (0usize..2).prop_map(Event::BootFailed),
        1 => (0usize..2).prop_map(Event::Update),
        2 => (0u8..4, 0u8..2).prop_map(|(build, pipeline)| Event::Announced(build, pipeline)),
        4 => (0u8..4, 0u8..9).prop_map(|(build, job)| Event::JobCame(build, job)),
        1 => (0u8..4).prop_map(Event::BuildEnded),
    ]
}

/// A scaler of two groups, with what it heard.
struct Scaler {
    stage: Stage,
    heard: Arc<Heard>,
    failed: u32,
}

impl Scaler {
    fn new() -> Self {
        let group = Capacity { max: 4, ..Capacity::default() };
        let stage = Stage::new(&[("spot", Some(group)), ("other", Some(group))]);
        Self { stage, heard: Arc::default(), failed: 0 }
    }

    fn restarted(mut self, second: i64) -> Self {
        let at = Timestamp::from_second(second).unwrap();
        let stage = self.stage.restarted(&mut self.heard, at);
        Self { stage, ..self }
    }

    fn hears(&self, body: &str, second: i64) {
        let hint = parse(body.as_bytes()).unwrap().unwrap();
        self.heard.hear(&hint, "default", Timestamp::from_second(second).unwrap());
    }

    async fn tick(&mut self, event: &Event, scheduled: u64, second: i64) -> Vec<String> {
        let build = |event: &str, build: u8, pipeline: u8| {
            format!(
                r#"{{"event":"{event}","build":{{"id":"b{build}"}},"pipeline":{{"slug":"p{pipeline}"}}}}"#
            )
        };
        match *event {
            Event::Nothing => {}
            Event::Launched(group) => self.stage.groups[group].launched(),
            Event::BootFailed(group) => {
                self.failed += 1;
                let ended = Timestamp::from_second(second).unwrap();
                self.stage.groups[group].booted(&format!("i-{}", self.failed), ended, Some("abandoned"));
            }
            Event::Update(group) => self.stage.groups[group].update(),
            Event::Announced(id, pipeline) => self.hears(&build("build.running", id, pipeline), second),
            Event::JobCame(id, job) => self.hears(
                &format!(r#"{{"event":"job.scheduled","build":{{"id":"b{id}"}},"job":{{"id":"j{job}"}}}}"#),
                second,
            ),
            Event::BuildEnded(id) => self.hears(&build("build.finished", id, 0), second),
        }
        // A queue at rest is looked at some seconds later than a program that has just started looks.
        self.stage.wake();
        let mut counts = counts(scheduled);
        self.heard.expect(&mut counts, Timestamp::from_second(second).unwrap());
        let expected = counts.expected;
        let outcome = self.stage.tick(&order(), Ok(counts), second).await;
        let told = |decision: &Decision| {
            let Decision { group, capacity, boots_failing, needed, step, reason, .. } = decision;
            format!("{group}: {expected} {capacity:?} {boots_failing:?} {needed:?} {step:?} {reason}")
        };
        outcome.decisions.iter().map(told).collect()
    }
}

proptest! {
    #[test]
    fn a_restart_between_two_ticks_changes_no_decision(
        ticks in proptest::collection::vec((event(), 0u64..9, 1i64..90, any::<bool>()), 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (mut lasting, mut restarted) = (Scaler::new(), Scaler::new());
        let mut second = 1_000_000;
        for (event, scheduled, pause, restart) in &ticks {
            if *restart {
                restarted = restarted.restarted(second);
            }
            second += pause;
            let one = runtime.block_on(lasting.tick(event, *scheduled, second));
            let other = runtime.block_on(restarted.tick(event, *scheduled, second));
            prop_assert_eq!(one, other, "at {}", second);
        }
    }
}
