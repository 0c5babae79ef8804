use proptest::prelude::*;

use super::*;

fn alarm(to_alarm: u16, periods: u16, missing: Missing) -> Alarm {
    Alarm {
        name: "a".into(),
        namespace: "n".into(),
        metric: "m".into(),
        dimensions: Vec::new(),
        statistic: Statistic::Maximum,
        period: Duration::from_secs(60),
        periods,
        to_alarm,
        threshold: 1.0,
        comparison: Comparison::AtLeast,
        missing,
        actions: Vec::new(),
    }
}

/// `0` is fine, `X` breaches, `-` is missing; the newest last.
fn points(text: &str) -> Vec<Option<f64>> {
    let one = |c: char| match c {
        'X' => Some(1.0),
        '0' => Some(0.0),
        _ => None,
    };
    text.chars().map(one).collect()
}

/// The two tables of the user guide's page on missing data. `None`: the state that it has stays.
#[test]
fn the_tables_of_the_guide() {
    use State::{Alarm, InsufficientData, Ok};
    let [ok, alarmed, insufficient, stays] = [Some(Ok), Some(Alarm), Some(InsufficientData), None];
    let table = [
        ("0-X-X", 3, [ok, ok, ok, ok]),
        ("----0", 3, [ok, ok, ok, ok]),
        ("-----", 3, [insufficient, stays, alarmed, ok]),
        ("0XX-X", 3, [alarmed, alarmed, alarmed, alarmed]),
        ("--X--", 3, [alarmed, stays, alarmed, ok]),
        ("0-X-X", 2, [alarmed, alarmed, alarmed, alarmed]),
        ("00X0X", 2, [alarmed, alarmed, alarmed, alarmed]),
        ("0-X--", 2, [ok, ok, alarmed, ok]),
        ("----0", 2, [ok, ok, alarmed, ok]),
        ("---X-", 2, [alarmed, stays, alarmed, ok]),
    ];
    let ways = [Missing::Missing, Missing::Ignore, Missing::Breaching, Missing::NotBreaching];
    for (text, to_alarm, expected) in table {
        for (missing, expected) in ways.into_iter().zip(expected) {
            for before in [Ok, Alarm, InsufficientData] {
                let state = evaluate(&alarm(to_alarm, 3, missing), before, &points(text)).state;
                assert_eq!(
                    state,
                    expected.unwrap_or(before),
                    "{text}, {to_alarm} of 3, {missing:?}, {before:?}"
                );
            }
        }
    }
}

#[test]
fn a_datapoint_counts_until_a_newer_one_comes_or_it_is_too_old() {
    let alarm = alarm(1, 1, Missing::NotBreaching);
    for (text, state, newest) in [
        ("--X", State::Alarm, Some(1.0)),
        ("-X-", State::Alarm, Some(1.0)),
        ("X--", State::Alarm, Some(1.0)),
        ("X-0", State::Ok, Some(0.0)),
        ("---", State::Ok, None),
    ] {
        let evaluated = evaluate(&alarm, State::Ok, &points(text));
        assert_eq!((evaluated.state, evaluated.newest), (state, newest), "{text}");
    }
}

fn published(second: i64, values: &[f64]) -> Published {
    Published {
        at: Timestamp::from_second(second).unwrap(),
        minimum: values.iter().copied().fold(f64::INFINITY, f64::min),
        maximum: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        sum: values.iter().sum(),
        count: f64::from(u32::try_from(values.len()).unwrap()),
    }
}

#[test]
fn periods_begin_at_full_minutes_and_what_is_dated_later_is_not_there_yet() {
    let all =
        [published(59, &[9.0]), published(60, &[1.0, 4.0]), published(119, &[2.0]), published(130, &[7.0])];
    let of = |statistic, now| {
        datapoints(&all, statistic, SignedDuration::from_mins(1), Timestamp::from_second(now).unwrap(), 3)
    };
    assert_eq!(of(Statistic::Maximum, 125), [Some(9.0), Some(4.0), None]);
    assert_eq!(of(Statistic::Maximum, 130), [Some(9.0), Some(4.0), Some(7.0)]);
    assert_eq!(of(Statistic::Minimum, 130)[1], Some(1.0));
    assert_eq!(of(Statistic::Sum, 130)[1], Some(7.0));
    assert_eq!(of(Statistic::SampleCount, 130)[1], Some(3.0));
    assert_eq!(of(Statistic::Average, 130)[1], Some(7.0 / 3.0));
}

/// A scaler that ticks every ten seconds and publishes once a minute does so up to 70 s apart: a minute of seven has no
/// datapoint. `CapacityShort` and `PhantomInstances` ask for as many as there are then.
#[test]
fn publications_that_miss_a_minute_now_and_then_raise_the_alarms_of_the_template() {
    let at = |second: i64| Timestamp::from_second(1_800_000_000 + second).unwrap();
    let raised = |to_alarm: u16, periods: u16, missing| {
        let alarm = Alarm { statistic: Statistic::Minimum, ..alarm(to_alarm, periods, missing) };
        let last = |second: i64| {
            let all = (0..60).map(|n| n * 70).filter(|published| *published <= second);
            let one = |second| Published { at: at(second), minimum: 1.0, maximum: 1.0, sum: 1.0, count: 1.0 };
            let all: Vec<Published> = all.map(one).collect();
            let points =
                datapoints(&all, alarm.statistic, SignedDuration::from_mins(1), at(second), alarm.range());
            evaluate(&alarm, State::Ok, &points).state
        };
        (1200..3600).step_by(7).all(|second| last(second) == State::Alarm)
    };
    assert!(raised(12, 15, Missing::NotBreaching) && raised(4, 5, Missing::Ignore));
    assert!(!raised(15, 15, Missing::NotBreaching));
}

#[test]
fn every_comparison() {
    let breaches = |comparison| {
        let alarm = Alarm { comparison, ..alarm(1, 1, Missing::Missing) };
        [0.0, 1.0, 2.0].map(|value| alarm.breaches(value))
    };
    assert_eq!(breaches(Comparison::AtLeast), [false, true, true]);
    assert_eq!(breaches(Comparison::Above), [false, false, true]);
    assert_eq!(breaches(Comparison::AtMost), [true, true, false]);
    assert_eq!(breaches(Comparison::Below), [true, false, false]);
}

fn any_points() -> impl Strategy<Value = Vec<Option<f64>>> {
    proptest::collection::vec(proptest::option::of(prop_oneof![Just(0.0), Just(1.0)]), 7)
}

proptest! {
    #[test]
    fn missing_ones_matter_only_where_too_few_are_there(points in any_points(), to_alarm in 1u16..5) {
        let states: Vec<State> = [Missing::Missing, Missing::Ignore, Missing::Breaching, Missing::NotBreaching]
            .map(|missing| evaluate(&alarm(to_alarm, 5, missing), State::Ok, &points).state)
            .into();
        if points.iter().flatten().count() >= 5 {
            prop_assert!(states.iter().all(|state| *state == states[0]), "{states:?}");
        }
    }

    #[test]
    fn who_fears_missing_data_alarms_whenever_another_does(points in any_points(), to_alarm in 1u16..5) {
        let of = |missing| evaluate(&alarm(to_alarm, 5, missing), State::Ok, &points).state;
        for other in [Missing::Missing, Missing::Ignore, Missing::NotBreaching] {
            if of(other) == State::Alarm {
                prop_assert_eq!(of(Missing::Breaching), State::Alarm);
            }
            if of(Missing::NotBreaching) == State::Alarm {
                prop_assert_eq!(of(other), State::Alarm);
            }
        }
    }
}
