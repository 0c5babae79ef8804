use super::*;

const PATIENCE: Patience = Patience {
    launch: jiff::SignedDuration::from_secs(60),
    retry_after: jiff::SignedDuration::from_secs(600),
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn launched(max: u32, count: u32) -> Capacity {
    Capacity { max, desired: count, live: count, in_service: count, held: count, ..Capacity::default() }
}

fn tagged(name: &str, stack: Option<&str>, capacity: Capacity) -> TaggedGroup {
    TaggedGroup {
        queue: "default".to_owned(),
        name: name.to_owned(),
        stack: stack.map(str::to_owned),
        standing: Standing::default(),
        agents: 1,
        most: None,
        seen: Seen { capacity, ..Seen::default() },
    }
}

fn fellows(own: &str, groups: &[TaggedGroup], memory: &Memory) -> Fellows {
    match Sharing::of(&[own.to_owned()], groups, memory) {
        Sharing::With(fellows) => fellows,
        other => panic!("{other:?}"),
    }
}

fn jobs(scheduled: u64) -> Jobs {
    Jobs { scheduled, ..Jobs::default() }
}

fn here<'a>(policy: &'a Policy, jobs: &'a Jobs, groups: &'a [Capacity], at: Timestamp) -> Here<'a> {
    Here { policy, jobs, most: u32::MAX, groups, patience: PATIENCE, at }
}

#[test]
fn groups_are_sorted_by_stacks_and_ones_own_are_known_by_name() {
    let groups = [
        tagged("a-spot", Some("a"), launched(5, 1)),
        tagged("a-instances", Some("a"), launched(5, 2)),
        tagged("b-spot", Some("b"), launched(3, 1)),
        tagged("b-instances", Some("b"), launched(4, 2)),
        tagged("by-hand", None, launched(7, 0)),
    ];
    let own = ["a-spot".to_owned(), "a-instances".to_owned()];
    let Sharing::With(fellows) = Sharing::of(&own, &groups, &Memory::new()) else { panic!("not alone") };
    assert_eq!(fellows.stack, "a");
    let others: Vec<(&str, u32, u32)> =
        fellows.others.iter().map(|o| (o.stack.as_str(), o.capacity.max, o.capacity.desired)).collect();
    assert_eq!(others, [("b", 7, 3), ("by-hand", 7, 0)]);
    assert_eq!(Sharing::of(&own, &groups[..2], &Memory::new()), Sharing::Alone);
    let strange = Sharing::of(&own[..1], &groups[..2], &Memory::new());
    let Sharing::With(fellows) = strange else {
        panic!("a group of the stack that this scaler does not know")
    };
    assert_eq!(fellows.others[0].stack, "a-instances");
}

#[test]
fn a_stacks_standing_does_not_hang_on_the_order_in_which_aws_tells_of_its_groups() {
    let weighs =
        |group: TaggedGroup, weight| TaggedGroup { standing: Standing { priority: 0, weight }, ..group };
    let mut groups = [
        weighs(tagged("a-instances", Some("a"), launched(5, 0)), 2),
        weighs(tagged("a-spot", Some("a"), launched(5, 0)), 3),
        weighs(tagged("b-instances", Some("b"), launched(5, 0)), 4),
        weighs(tagged("b-spot", Some("b"), launched(5, 0)), 5),
    ];
    let own = ["a-spot".to_owned(), "a-instances".to_owned()];
    let told = Sharing::of(&own, &groups, &Memory::new());
    groups.reverse();
    assert_eq!(Sharing::of(&own, &groups, &Memory::new()), told);
    let Sharing::With(fellows) = told else { panic!("not alone") };
    assert_eq!((fellows.weight, fellows.others[0].weight), (2, 4));
}

#[test]
fn each_takes_its_part_and_what_the_other_has_counts() {
    let policy = Policy::of_need(1);
    let part = |a: Capacity, b: Capacity, count| {
        let groups = [tagged("a", None, a), tagged("b", None, b)];
        let of = |own: &str, groups: &[TaggedGroup], mine: Capacity| {
            fellows(own, groups, &Memory::new()).part(&here(&policy, &jobs(count), &[mine], at(0)))
        };
        [of("a", &groups, a).instances, of("b", &groups, b).instances]
    };
    assert_eq!(part(launched(9, 0), launched(9, 0), 10), [5, 5]);
    assert_eq!(part(launched(9, 5), launched(9, 0), 10), [5, 5], "b looks after a has asked");
    assert_eq!(part(launched(9, 7), launched(9, 0), 10), [7, 3]);
    assert_eq!(part(launched(4, 0), launched(4, 0), 10), [6, 6], "both tell of the two that are beyond");
}

#[test]
fn a_buffer_is_kept_once_and_does_not_feed_on_itself() {
    let buffered = Policy { instance_buffer: 2, ..Policy::of_need(1) };
    let plain = Policy::of_need(1);
    let (mut a, mut b) = (0, 0);
    for second in 0..20 {
        let groups = [tagged("a", None, launched(90, a)), tagged("b", None, launched(90, b))];
        let count = jobs(8);
        a = a.max(
            fellows("a", &groups, &Memory::new())
                .part(&here(&buffered, &count, &[launched(90, a)], at(second)))
                .instances,
        );
        let groups = [tagged("a", None, launched(90, a)), tagged("b", None, launched(90, b))];
        b = b.max(
            fellows("b", &groups, &Memory::new())
                .part(&here(&plain, &count, &[launched(90, b)], at(second)))
                .instances,
        );
        assert!(a + b <= 10, "{a} and {b} at {second}");
    }
    assert_eq!(a + b, 10, "8 jobs and a buffer of 2");
}

/// Both look at the same time, and what may go goes at once.
#[test]
fn of_two_that_keep_an_idle_instance_one_does_and_a_minimum_is_each_ones_own() {
    let settles = |policy: Policy, mut desired: [u32; 2]| {
        let mut seen = Vec::new();
        for second in 0..6 {
            let idle = |count| Capacity {
                max: 9,
                desired: count,
                live: count,
                in_service: count,
                releasable: count,
                ..Capacity::default()
            };
            let groups = [tagged("a", None, idle(desired[0])), tagged("b", None, idle(desired[1]))];
            let part = |own: &str, place: usize| {
                let mine = [groups[place].seen.capacity];
                fellows(own, &groups, &Memory::new()).part(&here(&policy, &jobs(0), &mine, at(second)))
            };
            desired = [part("a", 0).instances, part("b", 1).instances];
            seen.push(desired);
        }
        seen
    };
    let floor = Policy { idle_instances: 2, ..Policy::of_need(1) };
    assert!(settles(floor, [2, 2]).iter().all(|seen| *seen == [2, 0]));
    assert_eq!(settles(floor, [0, 0])[1..], [[2, 0]; 5], "at first both ask, seeing nobody");
    assert!(settles(floor, [0, 2]).iter().skip(1).all(|seen| *seen == [2, 0]));
    let minimum = Policy { min_instances: 2, ..Policy::of_need(1) };
    assert!(settles(minimum, [2, 2]).iter().all(|seen| *seen == [2, 2]));
}

/// Stack b never asks for its part: its scaler is down.
#[test]
fn what_a_silent_stack_does_not_ask_for_another_one_takes() {
    let policy = Policy::of_need(1);
    let mut memory = Memory::new();
    let mut parts = Vec::new();
    let count = jobs(6);
    for second in [0, 10, 59, 70, 80, 600, 690] {
        let mine = launched(9, 3);
        let groups = [tagged("a", None, mine), tagged("b", None, launched(9, 0))];
        let fellows = fellows("a", &groups, &memory);
        let here = here(&policy, &count, std::slice::from_ref(&mine), at(second));
        parts.push((second, fellows.part(&here).instances));
        memory = fellows.remember(&here);
    }
    assert_eq!(parts, [(0, 3), (10, 3), (59, 3), (70, 6), (80, 6), (600, 6), (690, 3)]);
}

#[test]
fn one_that_comes_nearer_to_its_part_is_not_silent() {
    let policy = Policy::of_need(1);
    let mut memory = Memory::new();
    for (step, desired) in (0..10).zip(0u32..) {
        let count = jobs(u64::from(20 + desired * 4));
        let groups = [tagged("a", None, launched(99, 10)), tagged("b", None, launched(99, desired))];
        let fellows = fellows("a", &groups, &memory);
        let mine = [launched(99, 10)];
        let here = here(&policy, &count, &mine, at(step * 50));
        assert_eq!(fellows.silent(PATIENCE, at(step * 50)).count(), 0, "{step}");
        memory = fellows.remember(&here);
    }
}

#[test]
fn fixed_shares_of_all_accounts_are_never_less_than_the_whole() {
    let third = FixedShare::percent(33).unwrap();
    let of = |scheduled, running| {
        let jobs = third.of(Jobs { scheduled, running, waiting: 10 });
        (jobs.scheduled, jobs.running, jobs.waiting)
    };
    assert_eq!(of(0, 0), (0, 0, 4));
    assert_eq!(of(1, 0), (1, 0, 4));
    assert_eq!(of(10, 20), (3, 7, 4));
    assert_eq!(of(u64::MAX, 0).0, (u128::from(u64::MAX) * 33).div_ceil(100) as u64);
    assert_eq!([0, 101].map(FixedShare::percent), [None, None]);
}

mod laws;

#[test]
fn more_jobs_than_can_be_counted_ask_for_all_that_may_be() {
    let groups = [tagged("a", Some("a"), launched(5, 1)), tagged("b", Some("b"), launched(5, 1))];
    let policy = Policy { include_waiting: true, ..Policy::of_need(1) };
    let jobs = Jobs { scheduled: u64::MAX, running: 9, waiting: u64::MAX };
    let own = [launched(5, 1)];
    let part = fellows("a", &groups, &Memory::new()).part(&here(&policy, &jobs, &own, at(0)));
    assert_eq!(part, Part { by_jobs: u32::MAX, instances: u32::MAX });
}
