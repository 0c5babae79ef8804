use super::*;
use crate::decide::Capacity;
use crate::record::tests::{busy, inputs, record_of};

/// A tick at this second: `scheduled` jobs, while 3 instances are busy.
fn tick(second: i64, scheduled: u64) -> Record {
    let mut inputs = inputs(Some((scheduled, 9)), busy(3));
    inputs.at = Timestamp::from_second(second).unwrap();
    record_of(&inputs, &[])
}

fn log(records: &[Record]) -> Log {
    Log::read(records.iter().rev().map(|record| serde_json::to_string(record).unwrap()))
}

fn seconds(lines: &[Line]) -> Vec<i64> {
    lines.iter().map(|line| line.record.inputs.at.as_second()).collect()
}

/// A step at 0, one that was refused three times, and another one.
fn some() -> Log {
    log(&[tick(0, 1), tick(10, 2), tick(20, 2), tick(30, 2), tick(1000, 2), tick(1010, 3)])
}

#[test]
fn ticks_that_say_the_same_are_one_story_and_quiet_ones_end_it() {
    let told = stories(some().lines.iter().map(|line| &line.record));
    let told: Vec<(i64, i64, usize)> =
        told.iter().map(|story| (story.from.as_second(), story.to.as_second(), story.ticks.len())).collect();
    assert_eq!(told, [(0, 0, 1), (10, 30, 3), (1000, 1000, 1), (1010, 1010, 1)]);
}

#[test]
fn the_last_stories_are_whole() {
    let log = some();
    assert_eq!(seconds(&log.select(&Which::Last(1))), [1010]);
    assert_eq!(seconds(&log.select(&Which::Last(3))), [10, 20, 30, 1000, 1010]);
    assert_eq!(log.select(&Which::Last(99)).len(), 6);
    assert!(log.is_enough(&Which::Last(3)) && !log.is_enough(&Which::Last(4)));
}

#[test]
fn a_time_finds_the_story_at_it_or_before_it() {
    let log = some();
    let at = |second| Which::At(Timestamp::from_second(second).unwrap());
    for (second, expected) in
        [(-1, &[][..]), (0, &[0]), (9, &[0]), (20, &[10, 20]), (999, &[10, 20, 30]), (5000, &[1010])]
    {
        assert_eq!(seconds(&log.select(&at(second))), expected, "{second}");
    }
    assert!(log.is_enough(&at(30)) && !log.is_enough(&at(9)));
}

#[test]
fn an_instance_has_what_names_it_and_the_step_it_left_by() {
    let mut came = tick(0, 0);
    came.moved[0].booting.push("i-1".into());
    let mut ready = tick(60, 0);
    ready.moved[0].in_service.push("i-1".into());
    let other = tick(70, 2);
    let idle = Capacity { held: 1, releasable: 2, ..busy(3) };
    let mut step = inputs(Some((0, 1)), idle);
    let lowered_at = |second, inputs: &mut crate::record::Inputs| {
        inputs.at = Timestamp::from_second(second).unwrap();
        record_of(inputs, &[])
    };
    let (early, late) = (lowered_at(80, &mut step), lowered_at(90, &mut step));
    let mut left = tick(100, 0);
    left.moved[0].left.push("i-1".into());
    let log = log(&[came, ready, other, early, late, left]);
    assert_eq!(seconds(&log.select(&Which::Instance("i-1".into()))), [0, 60, 90, 100]);
    assert!(log.select(&Which::Instance("i-2".into())).is_empty());
    assert!(log.is_enough(&Which::Instance("i-1".into())), "it is known from its boot on");
}

#[test]
fn what_is_no_record_is_left_out_and_what_looks_like_one_is_counted() {
    let line = serde_json::to_string(&tick(0, 1)).unwrap();
    let lines = ["START RequestId", &line, &line, r#"{"v":2}"#, r#"{"v":1,"#, "{}"].map(str::to_owned);
    let log = Log::read(lines);
    assert_eq!(log.lines.len(), 1, "delivered twice");
    assert_eq!(log.unreadable, [Unreadable::Version(2), Unreadable::Garbled]);
}

#[test]
fn times_are_given_or_ago() {
    let now = Timestamp::from_second(1_000_000).unwrap();
    let seen = |text: &str| text.parse::<When>().map(|when| when.seen_from(now).as_second()).ok();
    for (text, expected) in [
        ("1970-01-01T00:01:00Z", Some(60)),
        ("1970-01-01T01:01:00+01:00", Some(60)),
        ("90s", Some(999_910)),
        ("10m", Some(999_400)),
        ("2h", Some(992_800)),
        ("1d", Some(913_600)),
        ("4294967295d", Some(Timestamp::MIN.as_second())),
        ("yesterday", None),
        ("m", None),
        ("-5m", None),
        ("10", None),
        ("2026-11-21", None),
        ("", None),
    ] {
        assert_eq!(seen(text), expected, "{text}");
    }
}
