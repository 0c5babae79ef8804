//! Which group takes which part of the need: groups in order of cost, the cheapest first. Pure.
//!
//! What is there is counted where it is: busy and booting instances first, then idle ones, then launches that AWS still
//! owes. Only what is missing then is launched, in the cheapest group that has room and delivers. A group that AWS
//! is short of gets no more than it has while another one can take the rest; one whose boots keep failing gets no more
//! than a probe. A phantom takes a place within all limits, and serves no need.

use crate::decide::{Capacity, Plan, Reason, Share, Step};

/// What is asked of each group, for a need of `needed` instances and at most `most` in all. The cheapest group tells
/// of what is beyond all limits.
#[must_use]
pub fn shares(needed: u32, most: u32, groups: &[Capacity]) -> Vec<Share> {
    let there = groups.iter().fold(0u32, |sum, group| sum.saturating_add(group.stays()));
    let phantom = groups.iter().fold(0u32, |sum, group| sum.saturating_add(group.phantom));
    let mut missing = needed.min(most.max(there).saturating_sub(phantom));
    let mut beyond = needed - missing;
    let mut shares = vec![0; groups.len()];
    // The last: where nobody else can take it, AWS is asked on.
    for reach in [Capacity::stays, Capacity::lives, Capacity::comes, Capacity::room, Capacity::limit] {
        for (share, group) in shares.iter_mut().zip(groups) {
            let reach = reach(group).saturating_sub(group.phantom);
            let more = reach.saturating_sub(*share).min(missing);
            *share += more;
            missing -= more;
        }
    }
    beyond += missing;
    shares.into_iter().map(|instances| Share { instances, beyond: std::mem::take(&mut beyond) }).collect()
}

/// Leaves out growth that would pass `most`, the dearest first: launches that AWS owes to one group, or that boot there in
/// vain, are no capacity, but as long as they may not be called off they take their places. What stays is raised to.
pub fn keep_within(most: u32, plans: &mut [Plan], groups: &[Capacity]) {
    let after = |(plan, group): (&Plan, &Capacity)| plan.target().unwrap_or(group.desired);
    let all = plans.iter().zip(groups).map(after).fold(0u32, u32::saturating_add);
    let mut beyond = all.saturating_sub(most);
    for (plan, group) in plans.iter_mut().zip(groups).rev() {
        if let Step::ScaleOut { from, to } = plan.step {
            let less = beyond.min(to - from.max(group.stays()).min(to));
            if less > 0 {
                beyond -= less;
                let to = to - less;
                plan.step = if to == from { Step::Hold } else { Step::ScaleOut { from, to } };
                plan.reason = Reason::AtMaximum;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::decide::{Policy, decide};

    fn group(desired: u32, held: u32, idle: u32) -> Capacity {
        let live = held + idle;
        Capacity { max: 5, desired, live, in_service: live, held, releasable: idle, ..Capacity::default() }
    }

    fn short(group: Capacity) -> Capacity {
        Capacity { short: true, ..group }
    }

    fn braked(group: Capacity, ceiling: u32) -> Capacity {
        Capacity { ceiling: Some(ceiling), ..group }
    }

    #[test]
    fn the_cheapest_group_grows_and_what_is_there_stays() {
        let cases = [
            ("nothing needed", 0, [group(0, 0, 0), group(0, 0, 0)], [0, 0]),
            ("the cheapest first", 3, [group(0, 0, 0), group(0, 0, 0)], [3, 0]),
            ("past its maximum", 7, [group(0, 0, 0), group(0, 0, 0)], [5, 2]),
            ("busy ones stay where they are", 3, [group(0, 0, 0), group(2, 2, 0)], [1, 2]),
            ("an idle dear one before a new cheap one", 2, [group(1, 1, 0), group(1, 0, 1)], [1, 1]),
            ("of idle ones the dear one goes", 1, [group(1, 0, 1), group(1, 0, 1)], [1, 0]),
            ("launches that are owed count", 3, [group(3, 1, 0), group(0, 0, 0)], [3, 0]),
            ("a short group keeps what it has", 3, [short(group(3, 1, 0)), group(0, 0, 0)], [1, 2]),
            ("nobody else has room", 7, [short(group(3, 1, 0)), group(0, 0, 0)], [2, 5]),
            ("all are short", 3, [short(group(3, 1, 0)), short(group(0, 0, 0))], [3, 0]),
            ("boots that fail are a probe's worth", 3, [braked(group(0, 0, 0), 1), group(0, 0, 0)], [1, 2]),
            ("and less between the probes", 3, [braked(group(1, 1, 0), 1), group(0, 0, 0)], [1, 2]),
            ("what is doomed takes nobody's place", 3, [braked(group(4, 4, 0), 2), group(0, 0, 0)], [2, 1]),
            ("boots fail everywhere", 3, [braked(group(0, 0, 0), 1), braked(group(0, 0, 0), 0)], [1, 0]),
            ("short and no longer needed", 0, [short(group(3, 1, 0)), group(2, 2, 0)], [0, 0]),
        ];
        for (name, needed, groups, expected) in cases {
            assert_eq!(instances(&shares(needed, 20, &groups)), expected, "{name}");
        }
    }

    fn instances(shares: &[Share]) -> Vec<u32> {
        shares.iter().map(|share| share.instances).collect()
    }

    #[test]
    fn what_is_beyond_every_limit_is_told_once() {
        let groups = [group(0, 0, 0), group(0, 0, 0)];
        let told = |needed, most| {
            let shares = shares(needed, most, &groups);
            (instances(&shares), shares.iter().map(|share| share.beyond).sum::<u32>())
        };
        assert_eq!(told(9, 6), (vec![5, 1], 3));
        assert_eq!(told(9, 3), (vec![3, 0], 6));
        assert_eq!(told(30, 20), (vec![5, 5], 20));
        assert_eq!(told(6, 6), (vec![5, 1], 0));
    }

    prop_compose! {
        fn any_group()(min in 0u32..4, span in 0u32..9, desired in 0u32..12, busy in 0u32..6, idle in 0u32..6, short: bool,
            ceiling in proptest::option::of(0u32..9))
            -> Capacity {
            let live = busy + idle;
            Capacity { min, max: min + span, desired, live, in_service: live, held: busy, releasable: idle, short, ceiling, phantom: 0 }
        }
    }

    fn any_groups() -> impl Strategy<Value = Vec<Capacity>> {
        proptest::collection::vec(any_group(), 1..4)
    }

    const POLICY: Policy = Policy::of_need(1);

    #[test]
    fn launches_that_may_not_be_called_off_take_their_places() {
        let policy = Policy { scale_in: false, ..POLICY };
        let targets = |most, groups: [Capacity; 2]| {
            let mut plans: Vec<Plan> = shares(5, most, &groups)
                .into_iter()
                .zip(&groups)
                .map(|(share, g)| decide(&policy, share, g))
                .collect();
            keep_within(most, &mut plans, &groups);
            plans.iter().map(|plan| (plan.target(), plan.reason)).collect::<Vec<_>>()
        };
        let owing = [short(group(3, 1, 0)), group(0, 0, 0)];
        assert_eq!(targets(5, owing), [(None, Reason::Disabled), (Some(2), Reason::AtMaximum)]);
        assert_eq!(targets(3, owing), [(None, Reason::Disabled), (None, Reason::AtMaximum)]);
        assert_eq!(targets(20, owing), [(None, Reason::Disabled), (Some(4), Reason::Need)]);
        let protected = [short(group(3, 1, 0)), group(0, 2, 0)];
        assert_eq!(targets(3, protected)[1], (Some(2), Reason::Need), "what stays is no growth");
    }

    proptest! {
        #[test]
        fn growth_never_passes_the_most_of_all(
            needed in 0u32..40, most in 0u32..30, groups in any_groups(), scale_in: bool
        ) {
            let policy = Policy { scale_in, ..POLICY };
            let mut plans: Vec<Plan> =
                shares(needed, most, &groups).into_iter().zip(&groups).map(|(share, g)| decide(&policy, share, g)).collect();
            keep_within(most, &mut plans, &groups);
            let after = |(plan, group): (&Plan, &Capacity)| plan.target().unwrap_or(group.desired);
            let before = |group: &Capacity| group.desired.max(group.stays());
            let all: u32 = plans.iter().zip(&groups).map(after).sum();
            prop_assert!(all <= most.max(groups.iter().map(before).sum()), "{all}: {plans:?}");
            for (plan, group) in plans.iter().zip(&groups) {
                prop_assert!(after((plan, group)) >= group.stays().min(group.limit()) || group.desired > 0);
            }
        }

        #[test]
        fn all_of_the_need_is_placed_or_told(needed in 0u32..40, most in 0u32..30, groups in any_groups()) {
            let shares = shares(needed, most, &groups);
            let there: u32 = groups.iter().map(Capacity::stays).sum();
            let placed: u32 = shares.iter().map(|share| share.instances).sum();
            let beyond: u32 = shares.iter().map(|share| share.beyond).sum();
            prop_assert_eq!(placed + beyond, needed);
            prop_assert!(placed <= most.max(there), "no more than allowed, but for what is there already");
        }

        #[test]
        fn no_group_is_asked_past_its_room(
            needed in 0u32..40, most in 0u32..20, groups in any_groups()
        ) {
            for (share, group) in shares(needed, most, &groups).iter().zip(&groups) {
                prop_assert!(share.instances <= group.stays().max(group.max));
            }
        }

        #[test]
        fn one_group_is_decided_as_if_there_were_no_shares(needed in 0u32..40, group in any_group()) {
            let shared = decide(&POLICY, shares(needed, u32::MAX, &[group])[0], &group);
            let alone = decide(&POLICY, Share { instances: needed, beyond: 0 }, &group);
            prop_assert_eq!(shared.target(), alone.target());
        }
    }
}
