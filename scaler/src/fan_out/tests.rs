use proptest::prelude::*;

use super::*;

const WINDOW: SignedDuration = SignedDuration::from_secs(120);

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn hint(event: Event, build: u32) -> Hint {
    Hint {
        event,
        pipeline: Some("app".into()),
        build: Some(build.to_string()),
        job: None,
        queue: None,
        jobs: None,
        listed: None,
    }
}

fn job(build: u32, job: u32, queue: &str) -> Hint {
    Hint { job: Some(job.to_string()), queue: Some(queue.into()), ..hint(Event::JobScheduled, build) }
}

/// Hears each at its second; what each announced.
fn heard(fan_out: &mut FanOut, hints: &[(i64, Hint)]) -> Vec<u32> {
    hints.iter().map(|(second, hint)| fan_out.hear(hint, "default", WINDOW, at(*second))).collect()
}

/// A build with so many jobs, from start to end; what it announced.
fn build(fan_out: &mut FanOut, number: u32, jobs: u32, second: i64) -> u32 {
    let announced = fan_out.hear(&hint(Event::BuildScheduled, number), "default", WINDOW, at(second));
    let rest = [(second + 2, hint(Event::BuildRunning, number))].into_iter();
    let rest = rest.chain((0..jobs).map(|n| (second + 3, job(number, n, "default"))));
    let rest: Vec<(i64, Hint)> = rest.chain([(second + 60, hint(Event::BuildFinished, number))]).collect();
    assert!(heard(fan_out, &rest).iter().all(|more| *more == 0), "a build announces once");
    announced
}

#[test]
fn the_estimate_is_what_builds_brought_the_later_ones_more() {
    let mut fan_out = FanOut::default();
    let brought = [10, 10, 20, 20, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let announced = (0u32..).zip(brought);
    let announced: Vec<u32> =
        announced.map(|(n, jobs)| build(&mut fan_out, n, jobs, 100 * i64::from(n))).collect();
    assert_eq!(announced, [0, 10, 10, 13, 15, 17, 12, 8, 6, 4, 3, 2, 1, 1], "at first nothing is known");
}

#[test]
fn what_the_sender_says_wins_over_what_was_learned() {
    let mut fan_out = FanOut::default();
    build(&mut fan_out, 1, 10, 0);
    let said = Hint { jobs: Some(3), ..hint(Event::BuildScheduled, 2) };
    assert_eq!(heard(&mut fan_out, &[(100, said)]), [3]);
    let elsewhere = Hint { queue: Some("windows".into()), ..hint(Event::BuildScheduled, 3) };
    assert_eq!(heard(&mut fan_out, &[(101, elsewhere)]), [0], "another queue's");
}

#[test]
fn jobs_count_once_for_their_queue_and_within_the_time() {
    let mut fan_out = FanOut::default();
    let hints = [
        (0, hint(Event::BuildScheduled, 1)),
        (1, job(1, 1, "default")),
        (200, hint(Event::BuildRunning, 1)),
        (201, job(1, 2, "default")),
        (201, job(1, 2, "default")),
        (202, job(1, 3, "windows")),
        (210, job(1, 4, "default")),
        (330, job(1, 5, "default")),
    ];
    assert_eq!(heard(&mut fan_out, &hints), [0; 8]);
    assert_eq!(heard(&mut fan_out, &[(500, hint(Event::BuildScheduled, 2))]), [2], "jobs 2 and 4");
}

#[test]
fn a_delivery_that_is_repeated_announces_nothing_as_long_as_its_signature_is_good() {
    let mut fan_out = FanOut::default();
    build(&mut fan_out, 1, 10, 0);
    let scheduled = || hint(Event::BuildScheduled, 2);
    let running = || hint(Event::BuildRunning, 2);
    let hints = [
        (100, scheduled()),
        (101, scheduled()),
        (300, scheduled()),
        (399, scheduled()),
        // It stood behind others for so long that the first announcement is believed no more.
        (400, running()),
        (401, running()),
        (699, running()),
        (700, scheduled()),
    ];
    assert_eq!(heard(&mut fan_out, &hints), [10, 0, 0, 0, 10, 0, 0, 0]);
    let finished = [(701, hint(Event::BuildFinished, 2)), (702, hint(Event::BuildScheduled, 2))];
    assert_eq!(heard(&mut fan_out, &finished), [0, 0], "nor after its end");
}

#[test]
fn a_build_that_never_ran_teaches_nothing_and_a_month_is_forgotten() {
    let mut fan_out = FanOut::default();
    build(&mut fan_out, 1, 10, 0);
    let stuck = [(100, hint(Event::BuildScheduled, 2)), (300, hint(Event::BuildScheduled, 3))];
    assert_eq!(heard(&mut fan_out, &stuck), [10, 10], "build 2 is over by now");
    let month = 31 * 24 * 3600;
    assert_eq!(heard(&mut fan_out, &[(month, hint(Event::BuildScheduled, 4))]), [0]);
}

#[test]
fn without_names_nothing_is_announced() {
    let mut fan_out = FanOut::default();
    build(&mut fan_out, 1, 10, 0);
    let nameless = Hint { build: None, ..hint(Event::BuildScheduled, 2) };
    let without_pipeline = Hint { pipeline: None, ..hint(Event::BuildScheduled, 3) };
    assert_eq!(heard(&mut fan_out, &[(100, nameless), (101, without_pipeline)]), [0, 0]);
}

fn any_hint() -> impl Strategy<Value = Hint> {
    let event = prop_oneof![
        Just(Event::BuildScheduled),
        Just(Event::BuildRunning),
        Just(Event::BuildFinished),
        Just(Event::JobScheduled)
    ];
    let name = |most: u32| proptest::option::of((0..most).prop_map(|n| n.to_string()));
    (event, name(5), name(20), name(50), proptest::option::of(0u32..50)).prop_map(
        |(event, pipeline, build, job, jobs)| Hint {
            event,
            pipeline,
            build,
            job,
            queue: None,
            jobs,
            listed: None,
        },
    )
}

#[test]
fn a_flood_of_names_is_bounded_and_the_eldest_pipeline_goes() {
    let mut fan_out = FanOut::default();
    build(&mut fan_out, 0, 10, 0);
    let of = |number: usize, event| Hint {
        pipeline: Some(format!("p{number}")),
        build: Some(format!("flood-{number}")),
        ..hint(event, 0)
    };
    for number in 0..BUILDS + 10 {
        fan_out.hear(&of(number, Event::BuildRunning), "default", WINDOW, at(100));
    }
    assert_eq!(fan_out.builds.len(), BUILDS);
    for number in 0..BUILDS + 10 {
        fan_out.hear(&of(number, Event::BuildFinished), "default", WINDOW, at(101));
    }
    assert_eq!((fan_out.builds.len(), fan_out.pipelines.len()), (BUILDS, PIPELINES));
    assert_eq!(heard(&mut fan_out, &[(102, hint(Event::BuildScheduled, 1))]), [0], "`app` was the eldest");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_heard_a_build_announces_once(
        hints in proptest::collection::vec((0i64..3, any_hint()), 0..200)
    ) {
        let mut fan_out = FanOut::default();
        let mut second = 0;
        for (later, hint) in hints {
            second += later;
            let announced = fan_out.hear(&hint, "default", WINDOW, at(second));
            prop_assert!(announced < 50);
            prop_assert_eq!(fan_out.hear(&hint, "default", WINDOW, at(second)), 0, "the same hint twice");
        }
    }
}
