use std::sync::Mutex;

use super::fake_group::{FakeGroup, FakeGroups};
use super::*;
use crate::decide::{Capacity, Jobs, Step};
use crate::hint::heard::Heard;
use crate::ports::*;
use crate::reading::Reading;
use crate::state::State;

pub struct FakeMetrics(pub Result<(), Problem>, pub Mutex<Vec<Vec<Publication>>>);

impl Metrics for FakeMetrics {
    async fn publish(&self, queues: &[Publication], _: Timestamp) -> Result<(), Problem> {
        self.1.lock().unwrap().push(queues.to_vec());
        self.0.clone()
    }
}

/// One queue, its groups and where its metrics go, from tick to tick.
pub struct Stage {
    pub groups: Vec<FakeGroup>,
    tagged: bool,
    service: Service<FakeGroup>,
    pub metrics: FakeMetrics,
}

impl Stage {
    pub fn new(named: &[(&str, Option<Capacity>)]) -> Self {
        Self::of(named.iter().map(|(name, capacity)| FakeGroup::new(*name, *capacity)).collect())
    }

    pub fn of(groups: Vec<FakeGroup>) -> Self {
        let kept = groups.iter().map(|group| Kept::new(group.name(), group.clone())).collect();
        let service = Service::new(vec![Served::new(kept)]);
        Self { groups, tagged: false, service, metrics: FakeMetrics(Ok(()), Mutex::default()) }
    }

    /// The same, but AWS tells of them by their tags.
    pub fn of_tagged(named: &[(&str, Option<Capacity>)]) -> Self {
        Self { tagged: true, ..Self::new(named) }
    }

    /// The same, but lowering needs a lease.
    pub fn under(mut self, lease: std::sync::Arc<dyn crate::lease::holder::MayLower>) -> Self {
        let queues = self.service.queues.drain(..).map(|served| served.under(Some(lease.clone())));
        self.service = Service::new(queues.collect());
        self
    }

    /// The same groups, and a process that knows of the one before it only what that one wrote.
    pub fn restarted(self, heard: &mut Arc<Heard>, at: Timestamp) -> Self {
        let (groups, others) = self.service.queues[0].remembered();
        let state = State { heard: heard.learned(), groups, others };
        let state = State::read(&state.write(at).unwrap(), at).unwrap();
        let mut after = Self { tagged: self.tagged, ..Self::of(self.groups) };
        *heard = Arc::default();
        heard.recall(state.heard);
        after.service.queues[0].recall(state.groups, state.others);
        after
    }

    pub async fn release(&self) {
        self.service.queues[0].release().await;
    }

    pub fn wake(&mut self) {
        self.service.queues.iter_mut().for_each(Served::wake);
    }

    pub async fn tick(&mut self, order: &Order, counts: Result<Counts, Problem>, second: i64) -> Outcome {
        let at = Timestamp::from_second(second).unwrap();
        let counts = async { vec![counts] };
        let groups = FakeGroups { groups: self.groups.clone(), tagged: self.tagged };
        let orders = std::slice::from_ref(order);
        let outcomes = tick(orders, counts, &mut self.service, &groups, &self.metrics, at).await;
        outcomes.into_iter().next().unwrap()
    }

    pub fn publications(&self) -> Vec<Vec<Publication>> {
        self.metrics.1.lock().unwrap().clone()
    }

    pub fn troubles(&self) -> Troubles {
        self.publications().last().unwrap()[0].troubles
    }
}

pub fn counts(scheduled: u64) -> Counts {
    Counts {
        organization: "acme".into(),
        jobs: Jobs { scheduled, ..Jobs::default() },
        unfinished: scheduled,
        agents: Agents::default(),
        expected: 0,
        // Never old, whenever a test ticks.
        reading: Reading::at(Timestamp::MAX),
        paused: None,
        runnable: None,
        unmatched: 0,
        poll_after: Some(Duration::from_secs(20)),
    }
}

/// Two instances that nothing holds.
pub const IDLE: Capacity = Capacity {
    min: 0,
    max: 5,
    desired: 2,
    live: 2,
    in_service: 2,
    held: 0,
    releasable: 2,
    short: false,
    phantom: 0,
    ceiling: None,
};

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
        prices: Vec::new(),
        dry_run: false,
        publish: true,
        raise_only: false,
    }
}

async fn run(
    order: &Order,
    counts: Result<Counts, Problem>,
    group: FakeGroup,
    publish: Result<(), Problem>,
) -> (Outcome, Vec<u32>, usize) {
    let mut stage = Stage::of(vec![group]);
    stage.metrics.0 = publish;
    let outcome = stage.tick(order, counts, 0).await;
    (outcome, stage.groups[0].set(), stage.publications().len())
}

pub fn broken(what: &str) -> Problem {
    Problem::new(69, what)
}

#[tokio::test]
async fn in_alarms_mode_nothing_is_set_and_the_gap_is_published() {
    let order = Order { mode: ScalingMode::Alarms, ..order() };
    for (scheduled, gap, step) in [(4, 2, r#""to":4"#), (0, -2, r#""to":0"#), (2, 0, r#""step":"hold""#)] {
        let mut stage = Stage::new(&[("g", Some(IDLE))]);
        let outcome = stage.tick(&order, Ok(counts(scheduled)), 0).await;
        assert_eq!(stage.groups[0].set(), [0u32; 0], "{scheduled}");
        assert_eq!(stage.publications()[0][0].gaps, [("g".to_owned(), gap)], "{scheduled}");
        let line = serde_json::to_string(&outcome.decisions[0]).unwrap();
        assert!(line.contains(&format!(r#""gap":{gap}"#)) && line.contains(step), "{line}");
    }
}

#[tokio::test]
async fn in_alarms_mode_what_is_unknown_is_not_published() {
    let order = Order { mode: ScalingMode::Alarms, ..order() };
    let mut stage = Stage::new(&[("g", None)]);
    stage.tick(&order, Ok(counts(4)), 0).await;
    assert_eq!(stage.publications()[0][0].gaps, []);
}

#[tokio::test]
async fn announced_jobs_are_prepared_for_and_said() {
    let mut stage = Stage::new(&[("g", Some(IDLE))]);
    let outcome = stage.tick(&order(), Ok(Counts { expected: 3, ..counts(1) }), 0).await;
    assert_eq!(stage.groups[0].set(), [4], "one that is there and three to come");
    let line = serde_json::to_value(&outcome.decisions[0]).unwrap();
    assert_eq!((&line["jobs"]["scheduled"], &line["announced"]), (&1.into(), &3.into()));
    assert_eq!(outcome.record.unwrap().inputs.expected, 3);
}

#[tokio::test]
async fn need_is_applied_and_published() {
    let (outcome, set, published) =
        run(&order(), Ok(counts(4)), FakeGroup::new("g", Some(IDLE)), Ok(())).await;
    assert_eq!((set, published), (vec![4], 1));
    assert!(outcome.problems.is_empty() && outcome.published);
    assert_eq!(outcome.poll_after, Some(Duration::from_secs(20)));
}

#[tokio::test]
async fn unknown_jobs_or_group_change_nothing() {
    let (outcome, set, published) =
        run(&order(), Err(broken("no answer")), FakeGroup::new("g", Some(IDLE)), Ok(())).await;
    assert_eq!((set, published), (vec![], 0), "idle instances stay when the CI does not answer");
    assert_eq!(outcome.problems.len(), 1);
    let (outcome, set, published) = run(&order(), Ok(counts(4)), FakeGroup::new("g", None), Ok(())).await;
    assert_eq!((set, published), (vec![], 1), "metrics go out even when the group is unknown");
    assert_eq!(outcome.decisions[0].problems, ["group g does not exist"]);
}

#[tokio::test]
async fn what_instances_cost_is_published_where_prices_are_known() {
    let prices =
        |texts: &[f64]| texts.iter().map(|price| HourlyPrice::of(&(*price).into()).unwrap()).collect();
    let busy = Capacity { desired: 3, live: 3, in_service: 2, held: 3, releasable: 0, ..IDLE };
    let mut stage = Stage::new(&[("spot", Some(IDLE)), ("od", Some(busy))]);
    let order = Order { prices: prices(&[0.5, 2.0]), ..order() };
    stage.tick(&order, Ok(counts(5)), 0).await;
    let told = stage.publications()[0][0].clone();
    assert_eq!(told.hourly_cost, Some(7.0), "what boots is paid, too");
    assert!(told.decision > Duration::ZERO);
    stage.tick(&Order { prices: Vec::new(), ..order.clone() }, Ok(counts(5)), 1).await;
    assert_eq!(stage.publications()[1][0].hourly_cost, None);
    let mut stage = Stage::new(&[("spot", Some(IDLE)), ("od", None)]);
    stage.tick(&order, Ok(counts(5)), 0).await;
    assert_eq!(stage.publications()[0][0].hourly_cost, None, "unknown is not free");
}

#[tokio::test]
async fn a_failed_publication_does_not_stop_the_step_but_fails_the_tick() {
    let (outcome, set, _) =
        run(&order(), Ok(counts(4)), FakeGroup::new("g", Some(IDLE)), Err(broken("throttled"))).await;
    assert_eq!(set, [4]);
    assert_eq!(outcome.problems, [broken("throttled")]);
}

#[tokio::test]
async fn a_refusal_of_aws_fails_the_tick() {
    let (outcome, set, _) =
        run(&order(), Ok(counts(4)), FakeGroup::new("g", Some(IDLE)).with_max_after_describe(3), Ok(()))
            .await;
    assert!(set.is_empty());
    assert!(outcome.decisions[0].problems[0].contains("limits"));
}

#[tokio::test]
async fn a_dry_run_decides_and_touches_nothing() {
    let order = Order { dry_run: true, ..order() };
    let (outcome, set, published) = run(&order, Ok(counts(4)), FakeGroup::new("g", Some(IDLE)), Ok(())).await;
    assert_eq!((set, published), (vec![], 0));
    assert_eq!(outcome.decisions[0].step, Some(Step::ScaleOut { from: 2, to: 4 }));
}

#[tokio::test]
async fn the_record_is_one_json_line_with_the_reason() {
    let (outcome, ..) = run(&order(), Ok(counts(4)), FakeGroup::new("g", Some(IDLE)), Ok(())).await;
    insta::assert_snapshot!(serde_json::to_string(&outcome.decisions[0]).unwrap());
}

#[tokio::test]
async fn an_instance_that_comes_or_goes_is_on_record_from_the_second_look_on() {
    let mut stage = Stage::new(&[("g", Some(IDLE))]);
    let order = Order { publish: false, ..order() };
    let moved = async |stage: &mut Stage, jobs| {
        let outcome = stage.tick(&order, Ok(counts(jobs)), 0).await;
        outcome.record.map(|record| (record.moved[0].in_service.join(" "), record.moved[0].left.join(" ")))
    };
    let text = |a: &str, b: &str| Some((a.to_owned(), b.to_owned()));
    assert_eq!(moved(&mut stage, 2).await, None, "what was there before the program is nothing new");
    assert_eq!(moved(&mut stage, 3).await, text("", ""), "a step");
    stage.groups[0].launched();
    assert_eq!(moved(&mut stage, 3).await, text("i-s2", ""));
    assert_eq!(moved(&mut stage, 3).await, None, "quiet");
}

const EMPTY: Option<Capacity> = Some(Capacity { desired: 0, live: 0, in_service: 0, releasable: 0, ..IDLE });

/// Two groups that AWS never launches into: what is set is what is asked.
#[tokio::test]
async fn a_group_that_aws_is_short_of_hands_on_to_the_next_and_is_tried_again() {
    let mut stage = Stage::new(&[("spot", EMPTY), ("od", EMPTY)]);
    let mut set = Vec::new();
    for second in [0, 30, 90, 100, 680, 700] {
        let outcome = stage.tick(&order(), Ok(counts(2)), second).await;
        assert!(outcome.problems.is_empty() && outcome.decisions.len() == 2);
        let reason = outcome.decisions[0].reason.clone();
        set.push((second, stage.groups[0].set(), stage.groups[1].set(), reason));
        if second == 90 {
            stage.groups[1].launched();
        }
    }
    let enough = "desired capacity is what the jobs need".to_owned();
    assert_eq!(set[1], (30, vec![2], vec![], enough.clone()));
    let short = "AWS does not launch what is desired here: another group gets it".to_owned();
    assert_eq!(set[2], (90, vec![2, 0], vec![2], short));
    assert_eq!(set[5], (700, vec![2, 0], vec![2], enough), "what runs is not launched anew elsewhere");
}

/// Two are the most of all, and AWS owes one of them to the first group.
#[tokio::test]
async fn nothing_grows_in_the_place_of_a_launch_that_is_not_called_off() {
    let owed = Capacity { live: 1, in_service: 1, held: 1, releasable: 0, ..IDLE };
    for (what, scale_in, refused, expected) in [
        ("called off", true, false, [vec![1], vec![1]]),
        ("the call fails", true, true, [vec![], vec![]]),
        ("the policy forbids it", false, false, [vec![], vec![]]),
    ] {
        let order = Order { most: 2, policy: Policy { scale_in, ..Policy::of_need(1) }, ..order() };
        let mut stage = Stage::new(&[("spot", Some(owed)), ("od", EMPTY)]);
        stage.tick(&order, Ok(counts(2)), 0).await;
        if refused {
            stage.groups[0] = stage.groups[0].clone().with_max_after_describe(0);
        }
        let outcome = stage.tick(&order, Ok(counts(2)), 60).await;
        assert_eq!([stage.groups[0].set(), stage.groups[1].set()], expected, "{what}");
        assert_eq!(outcome.problems.len(), usize::from(refused), "{what}");
    }
}

#[tokio::test]
async fn counts_in_doubt_lower_nothing_and_raise_as_ever() {
    let second = |n| Timestamp::from_second(n).unwrap();
    let now = Reading::at(second(100));
    for (what, reading, lowers) in [
        ("of now", now, true),
        ("of a while ago", Reading::at(second(39)), false),
        ("of a while ago by the CI's clock", Reading { as_of: Some(second(39)), ..now }, false),
        ("cut off", Reading { complete: false, ..now }, false),
    ] {
        let mut stage = Stage::new(&[("g", Some(IDLE))]);
        let told = |jobs| Counts { reading, ..counts(jobs) };
        let outcome = stage.tick(&order(), Ok(told(0)), 100).await;
        let set = if lowers { vec![0] } else { vec![] };
        assert_eq!((stage.groups[0].set(), outcome.decisions[0].doubt.is_none()), (set, lowers), "{what}");
        stage.tick(&order(), Ok(told(3)), 100).await;
        assert_eq!(stage.groups[0].set().last(), Some(&3), "{what}");
    }
}

#[tokio::test]
async fn one_unknown_group_stops_all_steps() {
    let mut stage = Stage::new(&[("g", Some(IDLE)), ("gone", None)]);
    let outcome = stage.tick(&order(), Ok(counts(4)), 0).await;
    assert!(stage.groups.iter().all(|group| group.set().is_empty()));
    assert_eq!(outcome.problems.len(), 1);
    assert!(outcome.decisions.iter().all(|record| record.step.is_none()));
}

#[tokio::test]
async fn after_three_failed_boots_one_at_a_time_is_tried_until_one_gets_ready() {
    let mut stage = Stage::new(&[("g", EMPTY)]);
    let second = |n| Timestamp::from_second(n).unwrap();
    let step = async |stage: &mut Stage, n| {
        let outcome = stage.tick(&order(), Ok(counts(3)), n).await;
        assert_eq!(outcome.problems, []);
        let troubles = stage.troubles();
        assert_eq!(
            troubles.capacity_short > 0,
            troubles.boots_failing >= 3,
            "what the brake holds back is short"
        );
        (stage.groups[0].set().last().copied(), outcome.decisions[0].clone(), troubles.boots_failing)
    };
    assert_eq!(step(&mut stage, 0).await.0, Some(3));
    for (id, ended) in [("i-1", 30), ("i-2", 31)] {
        stage.groups[0].booted(id, second(ended), Some("abandoned"));
    }
    let (desired, record, failing) = step(&mut stage, 65).await;
    assert_eq!((desired, record.boots_failing, failing), (Some(3), None, 2), "two may have been bad luck");
    stage.groups[0].booted("i-3", second(70), Some("abandoned"));
    let (desired, record, failing) = step(&mut stage, 75).await;
    assert_eq!((desired, failing), (Some(0), 3), "the group's own successors are called off");
    insta::assert_snapshot!(serde_json::to_string(&record).unwrap());
    assert_eq!(step(&mut stage, 129).await.0, Some(0));
    assert_eq!(step(&mut stage, 130).await.0, Some(1), "a probe, a minute after the last failure");
    stage.groups[0].booted("i-4", second(150), Some("abandoned"));
    assert_eq!(step(&mut stage, 155).await.0, Some(0));
    assert_eq!(step(&mut stage, 269).await.0, Some(0));
    assert_eq!(step(&mut stage, 270).await.0, Some(1), "two minutes after that");
    stage.groups[0].booted("i-5", second(300), None);
    stage.groups[0].launched();
    let (desired, record, failing) = step(&mut stage, 305).await;
    assert_eq!((desired, record.boots_failing, failing), (Some(3), None, 0), "all is well");
}

#[tokio::test]
async fn a_new_launch_template_gets_its_chance_at_once_and_old_failures_stay_old() {
    let mut stage = Stage::new(&[("g", EMPTY)]);
    let second = |n| Timestamp::from_second(n).unwrap();
    for ended in [10, 11, 12] {
        stage.groups[0].booted("i-1", second(ended), Some("abandoned"));
    }
    let desired_at = async |stage: &mut Stage, n| {
        let problems = stage.tick(&order(), Ok(counts(2)), n).await.problems.len();
        (stage.groups[0].set().last().copied(), problems)
    };
    assert_eq!(desired_at(&mut stage, 20).await, (None, 0), "a program that starts anew knows it, too");
    stage.groups[0].update();
    assert_eq!(desired_at(&mut stage, 30).await, (Some(2), 0));
    assert_eq!(desired_at(&mut stage, 91).await, (Some(2), 0), "asked again, and still not held against it");
    stage.groups[0].hide_boots();
    assert_eq!(desired_at(&mut stage, 152).await, (Some(2), 1), "unknown stops nothing, and is a problem");
}

#[tokio::test]
async fn a_group_that_is_well_is_not_asked_how_its_boots_ended() {
    let mut stage = Stage::new(&[("g", Some(IDLE))]);
    stage.groups[0].launched();
    for second in (0..3600).step_by(10) {
        stage.tick(&order(), Ok(counts(2)), second).await;
    }
    assert_eq!(stage.groups[0].asked_for_boots(), 1, "once, when the program began");
}
