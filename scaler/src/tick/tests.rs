use std::sync::Mutex;

use super::fake_group::FakeGroup;
use super::*;
use crate::ports::*;
use crate::sharing::TaggedGroup;

pub struct FixedCounts(pub Result<Counts, Problem>);

impl JobCounts for FixedCounts {
    async fn read(&self, _queue: &str) -> Result<Counts, Problem> {
        self.0.clone()
    }
}

pub struct FakeMetrics(
    pub Result<(), Problem>,
    pub Mutex<usize>,
    pub Mutex<Troubles>,
    pub Mutex<Vec<Vec<(String, i64)>>>,
);

impl Metrics for FakeMetrics {
    async fn publish(
        &self,
        _: &str,
        _: &Counts,
        troubles: Troubles,
        gaps: &[(String, i64)],
        _: Timestamp,
    ) -> Result<(), Problem> {
        self.3.lock().unwrap().push(gaps.to_vec());
        *self.1.lock().unwrap() += 1;
        *self.2.lock().unwrap() = troubles;
        self.0.clone()
    }
}

/// Groups that are tagged with the queue, whoever's.
#[derive(Debug)]
pub struct FixedGroups(pub Result<Vec<TaggedGroup>, Problem>);

impl QueueGroups for FixedGroups {
    async fn tagged(&self, _queue: &str) -> Result<Vec<TaggedGroup>, Problem> {
        self.0.clone()
    }
}

/// Nobody else serves the queue.
pub fn alone() -> Others<FixedGroups> {
    Others::new(FixedGroups(Ok(Vec::new())))
}

pub fn counts(scheduled: u64) -> Counts {
    Counts {
        organization: "acme".into(),
        jobs: Jobs { scheduled, ..Jobs::default() },
        unfinished: scheduled,
        agents: Agents::default(),
        expected: 0,
        poll_after: Some(Duration::from_secs(20)),
    }
}

fn idle_group() -> FakeGroup {
    let idle = Capacity {
        min: 0,
        max: 5,
        desired: 2,
        live: 2,
        in_service: 2,
        held: 0,
        releasable: 2,
        ..Capacity::default()
    };
    FakeGroup::new("g", Some(idle))
}

const PATIENCE: Patience = Patience {
    launch: jiff::SignedDuration::from_secs(60),
    retry_after: jiff::SignedDuration::from_secs(600),
};

pub fn order() -> Order {
    Order {
        queue: "default".into(),
        policy: Policy::of_need(1),
        most: u32::MAX,
        period: None,
        patience: PATIENCE,
        probe_after: jiff::SignedDuration::from_secs(60),
        mode: ScalingMode::Direct,
        share: FixedShare::ALL,
        dry_run: false,
        publish: true,
    }
}

async fn run(
    order: &Order,
    counts: Result<Counts, Problem>,
    group: FakeGroup,
    publish: Result<(), Problem>,
) -> (Outcome, Vec<u32>, usize) {
    let metrics = FakeMetrics(publish, Mutex::default(), Mutex::default(), Mutex::default());
    let mut groups = [Kept::new("g", group)];
    let outcome =
        tick(order, &FixedCounts(counts), &mut groups, &mut alone(), &metrics, Timestamp::UNIX_EPOCH).await;
    let published = *metrics.1.lock().unwrap();
    (outcome, groups[0].group.set(), published)
}

pub fn broken(what: &str) -> Problem {
    Problem::new(69, what)
}

#[tokio::test]
async fn in_alarms_mode_nothing_is_set_and_the_gap_is_published() {
    let order = Order { mode: ScalingMode::Alarms, ..order() };
    for (scheduled, gap, step) in [(4, 2, r#""to":4"#), (0, -2, r#""to":0"#), (2, 0, r#""step":"hold""#)] {
        let metrics = FakeMetrics(Ok(()), Mutex::default(), Mutex::default(), Mutex::default());
        let mut groups = [Kept::new("g", idle_group())];
        let counts = FixedCounts(Ok(counts(scheduled)));
        let outcome = tick(&order, &counts, &mut groups, &mut alone(), &metrics, Timestamp::UNIX_EPOCH).await;
        assert_eq!(groups[0].group.set(), [0u32; 0], "{scheduled}");
        assert_eq!(*metrics.3.lock().unwrap(), [[("g".to_owned(), gap)]], "{scheduled}");
        let line = serde_json::to_string(&outcome.decisions[0]).unwrap();
        assert!(line.contains(&format!(r#""gap":{gap}"#)) && line.contains(step), "{line}");
    }
}

#[tokio::test]
async fn in_alarms_mode_what_is_unknown_is_not_published() {
    let order = Order { mode: ScalingMode::Alarms, ..order() };
    let metrics = FakeMetrics(Ok(()), Mutex::default(), Mutex::default(), Mutex::default());
    let mut groups = [Kept::new("g", FakeGroup::new("g", None))];
    tick(&order, &FixedCounts(Ok(counts(4))), &mut groups, &mut alone(), &metrics, Timestamp::UNIX_EPOCH)
        .await;
    assert_eq!(*metrics.3.lock().unwrap(), [Vec::new()]);
}

#[tokio::test]
async fn announced_jobs_are_prepared_for_and_said() {
    let counts = Counts { expected: 3, ..counts(1) };
    let metrics = FakeMetrics(Ok(()), Mutex::default(), Mutex::default(), Mutex::default());
    let mut groups = [Kept::new("g", idle_group())];
    let outcome =
        tick(&order(), &FixedCounts(Ok(counts)), &mut groups, &mut alone(), &metrics, Timestamp::UNIX_EPOCH)
            .await;
    assert_eq!(groups[0].group.set(), [4], "one that is there and three to come");
    let line = serde_json::to_value(&outcome.decisions[0]).unwrap();
    assert_eq!((&line["jobs"]["scheduled"], &line["announced"]), (&1.into(), &3.into()));
    assert_eq!(outcome.record.unwrap().inputs.expected, 3);
}

#[tokio::test]
async fn need_is_applied_and_published() {
    let (outcome, set, published) = run(&order(), Ok(counts(4)), idle_group(), Ok(())).await;
    assert_eq!((set, published), (vec![4], 1));
    assert!(outcome.problems.is_empty() && outcome.published);
    assert_eq!(outcome.poll_after, Some(Duration::from_secs(20)));
}

#[tokio::test]
async fn unknown_jobs_or_group_change_nothing() {
    let (outcome, set, published) = run(&order(), Err(broken("no answer")), idle_group(), Ok(())).await;
    assert_eq!((set, published), (vec![], 0), "idle instances stay when the CI does not answer");
    assert_eq!(outcome.problems.len(), 1);
    let (outcome, set, published) = run(&order(), Ok(counts(4)), FakeGroup::new("g", None), Ok(())).await;
    assert_eq!((set, published), (vec![], 1), "metrics go out even when the group is unknown");
    assert_eq!(outcome.decisions[0].problems, ["group g does not exist"]);
}

#[tokio::test]
async fn a_failed_publication_does_not_stop_the_step_but_fails_the_tick() {
    let (outcome, set, _) = run(&order(), Ok(counts(4)), idle_group(), Err(broken("throttled"))).await;
    assert_eq!(set, [4]);
    assert_eq!(outcome.problems, [broken("throttled")]);
}

#[tokio::test]
async fn a_refusal_of_aws_fails_the_tick() {
    let (outcome, set, _) =
        run(&order(), Ok(counts(4)), idle_group().with_max_after_describe(3), Ok(())).await;
    assert!(set.is_empty());
    assert!(outcome.decisions[0].problems[0].contains("limits"));
}

#[tokio::test]
async fn a_dry_run_decides_and_touches_nothing() {
    let order = Order { dry_run: true, ..order() };
    let (outcome, set, published) = run(&order, Ok(counts(4)), idle_group(), Ok(())).await;
    assert_eq!((set, published), (vec![], 0));
    assert_eq!(outcome.decisions[0].step, Some(Step::ScaleOut { from: 2, to: 4 }));
}

#[tokio::test]
async fn the_record_is_one_json_line_with_the_reason() {
    let (outcome, ..) = run(&order(), Ok(counts(4)), idle_group(), Ok(())).await;
    insta::assert_snapshot!(serde_json::to_string(&outcome.decisions[0]).unwrap());
}

#[tokio::test]
async fn an_instance_that_comes_or_goes_is_on_record_from_the_second_look_on() {
    let mut groups = [Kept::new("g", idle_group())];
    let metrics = FakeMetrics(Ok(()), Mutex::default(), Mutex::default(), Mutex::default());
    let order = Order { publish: false, ..order() };
    let moved = async |groups: &mut [Kept<FakeGroup>; 1], jobs| {
        let outcome = tick(
            &order,
            &FixedCounts(Ok(counts(jobs))),
            groups,
            &mut alone(),
            &metrics,
            Timestamp::UNIX_EPOCH,
        )
        .await;
        outcome.record.map(|record| (record.moved[0].in_service.join(" "), record.moved[0].left.join(" ")))
    };
    let text = |a: &str, b: &str| Some((a.to_owned(), b.to_owned()));
    assert_eq!(moved(&mut groups, 2).await, None, "what was there before the program is nothing new");
    assert_eq!(moved(&mut groups, 3).await, text("", ""), "a step");
    groups[0].group.launched();
    assert_eq!(moved(&mut groups, 3).await, text("i-s2", ""));
    assert_eq!(moved(&mut groups, 3).await, None, "quiet");
}

/// Two groups that AWS never launches into: what is set is what is asked.
#[tokio::test]
async fn a_group_that_aws_is_short_of_hands_on_to_the_next_and_is_tried_again() {
    let empty = Some(Capacity { max: 5, ..Capacity::default() });
    let mut groups =
        [Kept::new("spot", FakeGroup::new("spot", empty)), Kept::new("od", FakeGroup::new("od", empty))];
    let metrics = FakeMetrics(Ok(()), Mutex::default(), Mutex::default(), Mutex::default());
    let mut set = Vec::new();
    for second in [0, 30, 90, 100, 680, 700] {
        let at = Timestamp::from_second(second).unwrap();
        let outcome =
            tick(&order(), &FixedCounts(Ok(counts(2))), &mut groups, &mut alone(), &metrics, at).await;
        assert!(outcome.problems.is_empty() && outcome.decisions.len() == 2);
        let reason = outcome.decisions[0].reason.clone();
        set.push((second, groups[0].group.set(), groups[1].group.set(), reason));
        if second == 90 {
            groups[1].group.launched();
        }
    }
    let enough = "desired capacity is what the jobs need".to_owned();
    assert_eq!(set[1], (30, vec![2], vec![], enough.clone()));
    let short = "AWS does not launch what is desired here: another group gets it".to_owned();
    assert_eq!(set[2], (90, vec![2, 0], vec![2], short));
    assert_eq!(set[5], (700, vec![2, 0], vec![2], enough), "what runs is not launched anew elsewhere");
}

#[tokio::test]
async fn one_unknown_group_stops_all_steps() {
    let mut groups = [Kept::new("g", idle_group()), Kept::new("gone", FakeGroup::new("gone", None))];
    let metrics = FakeMetrics(Ok(()), Mutex::default(), Mutex::default(), Mutex::default());
    let outcome = tick(
        &order(),
        &FixedCounts(Ok(counts(4))),
        &mut groups,
        &mut alone(),
        &metrics,
        Timestamp::UNIX_EPOCH,
    )
    .await;
    assert!(groups.iter().all(|kept| kept.group.set().is_empty()));
    assert_eq!(outcome.problems.len(), 1);
    assert!(outcome.decisions.iter().all(|record| record.step.is_none()));
}

#[tokio::test]
async fn after_three_failed_boots_one_at_a_time_is_tried_until_one_gets_ready() {
    let mut groups = [Kept::new("g", FakeGroup::new("g", Some(Capacity { max: 5, ..Capacity::default() })))];
    let metrics = FakeMetrics(Ok(()), Mutex::default(), Mutex::default(), Mutex::default());
    let second = |n| Timestamp::from_second(n).unwrap();
    let step = async |groups: &mut [Kept<FakeGroup>; 1], n| {
        let outcome =
            tick(&order(), &FixedCounts(Ok(counts(3))), groups, &mut alone(), &metrics, second(n)).await;
        assert_eq!(outcome.problems, []);
        let troubles = *metrics.2.lock().unwrap();
        assert_eq!(
            troubles.capacity_short > 0,
            troubles.boots_failing >= 3,
            "what the brake holds back is short"
        );
        (groups[0].group.set().last().copied(), outcome.decisions[0].clone(), troubles.boots_failing)
    };
    assert_eq!(step(&mut groups, 0).await.0, Some(3));
    for (id, ended) in [("i-1", 30), ("i-2", 31)] {
        groups[0].group.booted(id, second(ended), Some("abandoned"));
    }
    let (desired, record, failing) = step(&mut groups, 65).await;
    assert_eq!((desired, record.boots_failing, failing), (Some(3), None, 2), "two may have been bad luck");
    groups[0].group.booted("i-3", second(70), Some("abandoned"));
    let (desired, record, failing) = step(&mut groups, 75).await;
    assert_eq!((desired, failing), (Some(0), 3), "the group's own successors are called off");
    insta::assert_snapshot!(serde_json::to_string(&record).unwrap());
    assert_eq!(step(&mut groups, 129).await.0, Some(0));
    assert_eq!(step(&mut groups, 130).await.0, Some(1), "a probe, a minute after the last failure");
    groups[0].group.booted("i-4", second(150), Some("abandoned"));
    assert_eq!(step(&mut groups, 155).await.0, Some(0));
    assert_eq!(step(&mut groups, 269).await.0, Some(0));
    assert_eq!(step(&mut groups, 270).await.0, Some(1), "two minutes after that");
    groups[0].group.booted("i-5", second(300), None);
    groups[0].group.launched();
    let (desired, record, failing) = step(&mut groups, 305).await;
    assert_eq!((desired, record.boots_failing, failing), (Some(3), None, 0), "all is well");
}

#[tokio::test]
async fn a_new_launch_template_gets_its_chance_at_once_and_old_failures_stay_old() {
    let mut groups = [Kept::new("g", FakeGroup::new("g", Some(Capacity { max: 5, ..Capacity::default() })))];
    let metrics = FakeMetrics(Ok(()), Mutex::default(), Mutex::default(), Mutex::default());
    let second = |n| Timestamp::from_second(n).unwrap();
    for ended in [10, 11, 12] {
        groups[0].group.booted("i-1", second(ended), Some("abandoned"));
    }
    let desired_at = async |groups: &mut [Kept<FakeGroup>; 1], n| {
        let outcome =
            tick(&order(), &FixedCounts(Ok(counts(2))), groups, &mut alone(), &metrics, second(n)).await;
        let problems = outcome.problems.len();
        (groups[0].group.set().last().copied(), problems)
    };
    assert_eq!(desired_at(&mut groups, 20).await, (None, 0), "a program that starts anew knows it, too");
    groups[0].group.update();
    assert_eq!(desired_at(&mut groups, 30).await, (Some(2), 0));
    assert_eq!(desired_at(&mut groups, 91).await, (Some(2), 0), "asked again, and still not held against it");
    groups[0].group.hide_boots();
    assert_eq!(desired_at(&mut groups, 152).await, (Some(2), 1), "unknown stops nothing, and is a problem");
}

#[tokio::test]
async fn a_group_that_is_well_is_not_asked_how_its_boots_ended() {
    let mut groups = [Kept::new("g", idle_group())];
    groups[0].group.launched();
    let metrics = FakeMetrics(Ok(()), Mutex::default(), Mutex::default(), Mutex::default());
    for second in (0..3600).step_by(10) {
        let at = Timestamp::from_second(second).unwrap();
        tick(&order(), &FixedCounts(Ok(counts(2))), &mut groups, &mut alone(), &metrics, at).await;
    }
    assert_eq!(groups[0].group.asked_for_boots(), 1, "once, when the program began");
}
