use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::layout::Layout;
use crate::logs::record::Record;
use crate::logs::sink::fake::MemorySink;
use crate::logs::source::Position;

/// No waiting in tests.
const QUICK: Pace = Pace {
    gather: Duration::from_millis(300),
    first_wait: Duration::from_micros(1),
    longest_wait: Duration::from_micros(10),
    last_waits: Duration::from_micros(10),
};

/// Lines that are there from the beginning; the position is how many were given out.
struct Lines {
    all: Vec<Record>,
    given: usize,
    draining: bool,
}

fn line(kind: Kind, message: &str) -> Record {
    let at = jiff::Timestamp::now().as_millisecond();
    Record { at, kind, label: None, message: message.as_bytes().to_vec(), cut: 0 }
}

impl Source for Lines {
    async fn next(&mut self) -> Result<Option<Record>, Failure> {
        tokio::task::yield_now().await;
        if let Some(record) = self.all.get(self.given) {
            self.given += 1;
            return Ok(Some(record.clone()));
        }
        if self.draining { Ok(None) } else { std::future::pending().await }
    }

    async fn drain(&mut self) -> Result<(), Failure> {
        self.draining = true;
        Ok(())
    }

    fn position(&self) -> Position {
        Position::Journal(Some(format!("i={:x}", self.given)))
    }
}

struct Stage {
    _folder: tempfile::TempDir,
    file: PositionFile,
    sink: MemorySink,
}

impl Stage {
    fn new(sink: MemorySink) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = PositionFile::of(&Layout::below(folder.path()), "i-1");
        Self { _folder: folder, file, sink }
    }

    fn delivered(&self) -> usize {
        match self.file.read() {
            Some(Position::Journal(Some(cursor))) => usize::from_str_radix(&cursor[2..], 16).unwrap(),
            _ => 0,
        }
    }

    /// A run that is stopped at once: everything is drained. `limit` kills it after so many turns of the runtime.
    fn run(&self, all: &[Record], limit: Option<u64>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (_stop, stopped) = watch::channel(true);
        let source = Lines { all: all.to_vec(), given: self.delivered(), draining: false };
        let groups = Groups::OfStack("ci".into());
        let shipper = Shipper::new(source, &self.sink, groups, self.file.clone(), stopped).pace(QUICK);
        runtime.block_on(async {
            tokio::select! {
                biased;
                ended = shipper.run() => ended.unwrap(),
                () = turns(limit) => {}
            }
        });
    }
}

impl Sink for &MemorySink {
    async fn put(&self, group: &str, events: &[Event]) -> Result<Receipt, CallError> {
        (**self).put(group, events).await
    }
}

async fn turns(limit: Option<u64>) {
    for _ in 0..limit.unwrap_or(u64::MAX) {
        tokio::task::yield_now().await;
    }
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::Agent), Just(Kind::Watch), Just(Kind::System)]
}

fn faults() -> impl Strategy<Value = VecDeque<Fault>> {
    let fault = prop_oneof![
        Just(Fault::Throttled),
        Just(Fault::Unreachable),
        Just(Fault::Denied),
        Just(Fault::Absent),
        Just(Fault::Other),
    ];
    proptest::collection::vec(fault, 0..12).prop_map(VecDeque::from)
}

const GROUPS: [(Kind, &str); 3] = [
    (Kind::Agent, "/tidemark/ci/agent"),
    (Kind::Watch, "/tidemark/ci/watch"),
    (Kind::System, "/tidemark/ci/system"),
];

fn expected(all: &[Record], kind: Kind) -> Vec<String> {
    let of_kind = all.iter().filter(|r| r.kind == kind);
    of_kind.map(|r| String::from_utf8(r.message.clone()).unwrap()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the sink does, all lines arrive once and in order, and the position says so.
    #[test]
    fn faults_lose_and_double_nothing(kinds in proptest::collection::vec(kinds(), 0..40), faults in faults()) {
        let all: Vec<Record> =
            kinds.iter().enumerate().map(|(n, kind)| line(*kind, &format!("line {n}"))).collect();
        let stage = Stage::new(MemorySink { faults: faults.into(), ..MemorySink::default() });
        stage.run(&all, None);
        for (kind, group) in GROUPS {
            prop_assert_eq!(stage.sink.messages(group), expected(&all, kind));
        }
        prop_assert_eq!(stage.delivered(), all.len());
    }

    /// Killed at any moment, and run again: nothing is lost, and what is doubled was in the round that was cut.
    #[test]
    fn a_kill_loses_nothing(
        kinds in proptest::collection::vec(kinds(), 1..60), limit in 0u64..160, faults in faults(),
    ) {
        // Long lines, so that there are several rounds.
        let text = |n: usize| format!("line {n} {}", "x".repeat(ROUND / 10));
        let all: Vec<Record> = kinds.iter().enumerate().map(|(n, kind)| line(*kind, &text(n))).collect();
        let stage = Stage::new(MemorySink { faults: faults.into(), ..MemorySink::default() });
        stage.run(&all, Some(limit));
        let known = stage.delivered();
        let before: Vec<Vec<String>> = GROUPS.iter().map(|(_, group)| stage.sink.messages(group)).collect();
        for ((kind, _), before) in GROUPS.iter().zip(&before) {
            let known = expected(&all[..known], *kind);
            prop_assert!(before.starts_with(&known), "the position is ahead of what was delivered");
            prop_assert!(before.len() - known.len() <= 11, "more than a round is in doubt");
        }
        stage.run(&all, None);
        for ((kind, group), before) in GROUPS.iter().zip(&before) {
            let again = expected(&all[known..], *kind);
            prop_assert_eq!(stage.sink.messages(group), [before.clone(), again].concat());
        }
    }
}

#[test]
fn an_event_that_is_never_taken_costs_no_other() {
    let all: Vec<Record> = (0..9).map(|n| line(Kind::Agent, &format!("line {n}"))).collect();
    let stage = Stage::new(MemorySink { invalid: Some("line 5".into()), ..MemorySink::default() });
    stage.run(&all, None);
    let without: Vec<String> = (0..9).filter(|n| *n != 5).map(|n| format!("line {n}")).collect();
    assert_eq!(stage.sink.messages("/tidemark/ci/agent"), without);
    assert_eq!(stage.delivered(), 9);
}

#[test]
fn a_line_waits_for_others() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let stage = Stage::new(MemorySink::default());
    let all: Vec<Record> = (0..3).map(|n| line(Kind::Watch, &format!("line {n}"))).collect();
    let (_stop, stopped) = watch::channel(false);
    let source = Lines { all, given: 0, draining: false };
    let shipper =
        Shipper::new(source, &stage.sink, Groups::OfStack("ci".into()), stage.file.clone(), stopped)
            .pace(QUICK);
    runtime.block_on(async {
        let begun = Instant::now();
        tokio::select! {
            _ = shipper.run() => {}
            () = async { while stage.sink.stored.borrow().is_empty() { tokio::time::sleep(Duration::from_millis(10)).await } } => {}
        }
        assert!(begun.elapsed() >= QUICK.gather);
    });
    assert_eq!(stage.sink.stored.borrow().len(), 1, "one call for three lines");
}

#[test]
fn a_refusal_says_what_to_do() {
    let error = |fault| CallError {
        fault,
        operation: "logs:PutLogEvents",
        resource: "/tidemark/ci/agent".into(),
        code: None,
        status: None,
        bucket_region: None,
        detail: "no".into(),
    };
    let said = [Fault::Denied, Fault::Absent, Fault::Throttled].map(|fault| refusal(&error(fault), 3));
    insta::assert_snapshot!(said.join("\n"), @r"
    logs:PutLogEvents on /tidemark/ci/agent: no: allow the instance role this action; 3 events and all after them wait on the instance and are tried again
    logs:PutLogEvents on /tidemark/ci/agent: no: update the stack, which makes the group; 3 events and all after them wait on the instance and are tried again
    logs:PutLogEvents on /tidemark/ci/agent: no; 3 events and all after them wait on the instance and are tried again
    ");
}
