use proptest::prelude::*;

use super::*;

fn group(max: u32, desired: u32, held: u32, idle: u32) -> Capacity {
    let live = held + idle;
    Capacity { max, desired, live, in_service: live, held, releasable: idle, ..Capacity::default() }
}

fn empty(max: u32) -> Capacity {
    group(max, 0, 0, 0)
}

fn short(group: Capacity) -> Capacity {
    Capacity { short: true, ..group }
}

/// Stacks a, b, c… with their priority, weight, agents and one group.
fn stacks(given: &[(i64, u32, u32, Capacity)]) -> Vec<Stack> {
    let stack = |((priority, weight, agents, group), name): (&(i64, u32, u32, Capacity), char)| Stack {
        name: name.into(),
        standing: Standing { priority: *priority, weight: *weight },
        agents: *agents,
        most: u32::MAX,
        groups: vec![*group],
    };
    given.iter().zip('a'..).map(stack).collect()
}

#[test]
fn jobs_are_divided_by_priority_then_weight_within_limits_and_past_what_does_not_come() {
    let cases = [
        ("halves", 10, vec![(0, 1, 1, empty(9)), (0, 1, 1, empty(9))], vec![5, 5], 0),
        ("the odd one goes by name", 3, vec![(0, 1, 1, empty(9)), (0, 1, 1, empty(9))], vec![2, 1], 0),
        ("by weight", 12, vec![(0, 1, 1, empty(20)), (0, 3, 1, empty(20))], vec![3, 9], 0),
        ("priority first", 12, vec![(0, 1, 1, empty(20)), (5, 1, 1, empty(10))], vec![2, 10], 0),
        ("within limits", 12, vec![(0, 1, 1, empty(20)), (0, 1, 1, empty(2))], vec![10, 2], 0),
        ("beyond all limits", 12, vec![(0, 1, 1, empty(4)), (0, 1, 1, empty(2))], vec![4, 2], 6),
        ("agents weigh, not instances", 12, vec![(0, 1, 1, empty(20)), (0, 1, 5, empty(20))], vec![7, 1], 0),
        ("what runs stays", 6, vec![(9, 1, 1, empty(20)), (0, 1, 1, group(9, 4, 4, 0))], vec![2, 4], 0),
        (
            "and counts for the weight",
            6,
            vec![(0, 1, 1, empty(9)), (0, 1, 1, group(9, 2, 2, 0))],
            vec![3, 3],
            0,
        ),
        (
            "idle ones before new ones",
            3,
            vec![(9, 1, 1, empty(9)), (0, 1, 1, group(9, 3, 1, 2))],
            vec![0, 3],
            0,
        ),
        ("so do launches", 5, vec![(9, 1, 1, empty(9)), (0, 1, 1, group(9, 3, 0, 0))], vec![2, 3], 0),
        (
            "AWS owes them for long",
            5,
            vec![(9, 1, 1, empty(9)), (0, 1, 1, short(group(9, 3, 1, 0)))],
            vec![4, 1],
            0,
        ),
        ("nobody else can", 5, vec![(9, 1, 1, empty(2)), (0, 1, 1, short(group(9, 3, 1, 0)))], vec![2, 3], 0),
        ("all are short", 5, vec![(0, 1, 1, short(empty(9))), (0, 1, 1, short(empty(9)))], vec![3, 2], 0),
        ("no jobs", 0, vec![(0, 1, 1, group(9, 3, 1, 2)), (0, 1, 1, empty(9))], vec![0, 0], 0),
        ("a weight of zero is none", 2, vec![(0, 0, 1, empty(9)), (0, 1, 1, empty(9))], vec![1, 1], 0),
    ];
    for (name, jobs, given, instances, beyond) in cases {
        assert_eq!(allot(jobs, &stacks(&given)), Allotment { instances, beyond }, "{name}");
    }
}

#[test]
fn the_most_of_a_stack_holds_for_its_groups_together() {
    let mut both = stacks(&[(0, 1, 1, empty(5)), (0, 1, 1, empty(9))]);
    both[0].groups.push(empty(5));
    both[0].most = 5;
    assert_eq!(allot(14, &both).instances, [5, 9]);
    assert_eq!(allot(20, &both).beyond, 6);
}

/// As the rule says it, an instance at a time.
fn one_by_one(jobs: u64, stacks: &[Stack], instances: &mut [u32]) -> u64 {
    let mut left = jobs;
    while left > 0 {
        let has_room = |place: &usize| instances[*place] < stacks[*place].room();
        let next = (0..stacks.len()).filter(has_room).min_by(|a, b| {
            let level = |place: usize| u128::from(stacks[place].jobs(instances[place] + 1));
            (level(*a) * u128::from(stacks[*b].weight())).cmp(&(level(*b) * u128::from(stacks[*a].weight())))
        });
        let Some(place) = next else { return left };
        instances[place] += 1;
        left = left.saturating_sub(stacks[place].jobs(1));
    }
    0
}

#[test]
fn absurd_numbers_take_no_time() {
    let most =
        stacks(&[(0, 1, 1, empty(u32::MAX)), (0, 1000, 7, empty(u32::MAX)), (1, 3, 2, empty(u32::MAX))]);
    let allotment = allot(u64::MAX, &most);
    assert_eq!(allotment.instances, [u32::MAX; 3]);
    assert_eq!(allot(1 << 40, &most[..1]).beyond, (1 << 40) - u64::from(u32::MAX));
}

fn any_stacks() -> impl Strategy<Value = Vec<Stack>> {
    let one = (-2i64..3, 1u32..5, 1u32..4, 1u32..30, 0u32..9, 0u32..9, 0u32..9, any::<bool>());
    proptest::collection::vec(one, 1..6).prop_map(|given| {
        let of = |(priority, weight, agents, max, held, idle, owed, is_short)| {
            let group = group(max, held + idle + owed, held, idle);
            (priority, weight, agents, if is_short { short(group) } else { group })
        };
        stacks(&given.into_iter().map(of).collect::<Vec<_>>())
    })
}

proptest! {
    #[test]
    fn every_job_is_placed_once_or_told(jobs in 0u64..200, stacks in any_stacks()) {
        let Allotment { instances, beyond } = allot(jobs, &stacks);
        let placed: u64 = stacks.iter().zip(&instances).map(|(stack, count)| stack.jobs(*count)).sum();
        let largest = stacks.iter().map(|stack| u64::from(stack.agents)).max().unwrap_or(1);
        prop_assert!(placed + beyond >= jobs);
        prop_assert!(placed + beyond < jobs + largest, "no more than one instance's agents are left over");
        for (stack, count) in stacks.iter().zip(&instances) {
            prop_assert!(*count <= stack.limit().max(stack.stays()));
        }
    }

    #[test]
    fn many_at_once_are_poured_as_one_by_one(jobs in 0u64..400, mut stacks in any_stacks()) {
        for stack in &mut stacks {
            stack.standing.priority = 0;
            stack.groups[0].short = false;
        }
        let places: Vec<usize> = (0..stacks.len()).collect();
        let has: Vec<u32> = stacks.iter().map(Stack::comes).collect();
        let (mut at_once, mut slowly) = (has.clone(), has);
        let left = pour(jobs, &stacks, &places, &mut at_once, Stack::room);
        prop_assert_eq!(left, one_by_one(jobs, &stacks, &mut slowly));
        prop_assert_eq!(at_once, slowly);
    }

    #[test]
    fn all_scalers_come_to_the_same_in_whatever_order_they_see_the_stacks(
        jobs in 0u64..200, stacks in any_stacks()
    ) {
        let forth = allot(jobs, &stacks).instances;
        let back: Vec<Stack> = stacks.into_iter().rev().collect();
        let mut other = allot(jobs, &back).instances;
        other.reverse();
        prop_assert_eq!(forth, other);
    }

    #[test]
    fn new_capacity_goes_to_a_lower_priority_only_past_the_higher_ones(jobs in 0u64..200, stacks in any_stacks()) {
        let instances = allot(jobs, &stacks).instances;
        for (low, count) in stacks.iter().zip(&instances) {
            let grows = *count > low.comes().max(low.lives()).max(low.stays());
            let higher = stacks.iter().zip(&instances).filter(|(s, _)| s.standing.priority > low.standing.priority);
            for (high, has) in higher {
                prop_assert!(!grows || *has >= high.room());
            }
        }
    }
}
