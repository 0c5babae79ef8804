//! Auto Scaling: the lab's groups, and calls that fail, answer late, twice or from the past.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use lab::group::model::{ActivityStatus, Definition, Group, Hook, Lifecycle, TemplateRef, Transition};
use lifecycle::boots::{Activity, Boot, boots};
use scaler::allot::Standing;
use scaler::brake::Seen;
use scaler::decide::Capacity;
use scaler::ports::Problem;
use scaler::sharing::TaggedGroup;

/// How calls end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Calls {
    #[default]
    Work,
    /// Denied, down.
    Fail,
    /// Two of three calls are throttled, whoever makes them.
    Throttle,
    /// Groups are described, and desired capacity is not set.
    NoWrites,
    /// They do what they shall, and the caller does not hear of it.
    LoseAnswers,
    /// Groups are described as they were when this began.
    Stale,
    /// Desired capacity is set some seconds after it was decided.
    Late,
    /// And once more some seconds later.
    Twice,
}

pub struct Aws {
    pub groups: Vec<Group>,
    pub now: Timestamp,
    pub calls: Calls,
    /// What stale answers tell.
    pub past: Vec<Group>,
    /// Writes under way: when, which group, desired capacity.
    pub under_way: Vec<(Timestamp, usize, u32)>,
    /// Writes of scalers.
    pub writes: usize,
    /// When a scaler last said that it keeps idle instances.
    pub kept: Option<Timestamp>,
    /// Calls that were counted so that some of them are throttled.
    pub counted: u32,
    /// The scaler that ticks falls after so many calls more, and hears of nothing any more.
    pub falls_after: Option<u32>,
}

const LATE: SignedDuration = SignedDuration::from_secs(4);

/// As the template's hooks.
fn hooks() -> Vec<Hook> {
    let hook = |name: &str, transition, seconds| Hook {
        name: name.to_owned(),
        transition,
        heartbeat: SignedDuration::from_secs(seconds),
        silence_continues: transition == Transition::Terminating,
    };
    vec![hook("launching", Transition::Launching, 900), hook("terminating", Transition::Terminating, 1800)]
}

/// A group of the stack.
pub fn group(name: &str, min: u32, max: u32, now: Timestamp) -> Group {
    Group::new(Definition {
        name: name.to_owned(),
        arn: format!("arn:{name}"),
        min,
        max,
        protect_new: true,
        zones: vec!["a".to_owned(), "b".to_owned()],
        subnets: String::new(),
        template: TemplateRef { id: "lt-1".into(), name: "lt".into(), version: "1".into() },
        types: Vec::new(),
        mixed: None,
        grace: SignedDuration::ZERO,
        warm: 0,
        hooks: hooks(),
        tags: Vec::new(),
        created: now,
    })
}

impl Aws {
    /// Carries out what is due of the writes under way.
    pub fn deliver(&mut self) {
        let now = self.now;
        let due: Vec<_> = self.under_way.extract_if(.., |(at, ..)| *at <= now).collect();
        for (_, index, desired) in due {
            let _ = self.groups[index].set_desired(desired, now);
        }
    }

    /// Is a call heard at all?
    fn answers(&mut self) -> bool {
        self.counted = self.counted.wrapping_add(1);
        match self.calls {
            Calls::Fail => false,
            Calls::Throttle => self.counted.is_multiple_of(3),
            _ => true,
        }
    }

    /// A call of an instance about itself.
    pub fn call<T>(
        &mut self,
        index: usize,
        act: impl FnOnce(&mut Group, Timestamp) -> Result<T, lifecycle::Refusal>,
    ) -> Result<T, lifecycle::Refusal> {
        let failed = || lifecycle::Refusal::Failed("no answer".to_owned());
        if !self.answers() {
            return Err(failed());
        }
        match self.calls {
            Calls::LoseAnswers => act(&mut self.groups[index], self.now).and_then(|_| Err(failed())),
            _ => act(&mut self.groups[index], self.now),
        }
    }
}

/// A step of a scaler: does it fall here?
pub async fn stands(aws: &Mutex<Aws>) {
    let falls = match &mut aws.lock().unwrap_or_else(PoisonError::into_inner).falls_after {
        Some(0) => true,
        Some(calls) => {
            *calls -= 1;
            false
        }
        None => false,
    };
    if falls {
        std::future::pending::<()>().await;
    }
}

/// One group, as a scaler calls it.
pub struct Port {
    pub aws: Arc<Mutex<Aws>>,
    pub index: usize,
}

impl Port {
    fn lock(&self) -> MutexGuard<'_, Aws> {
        self.aws.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl scaler::ports::Group for Port {
    async fn boots(&self) -> Result<Vec<Boot>, Problem> {
        stands(&self.aws).await;
        let mut aws = self.lock();
        if !aws.answers() {
            return Err(no_answer());
        }
        let activities: Vec<Activity> =
            aws.groups[self.index].activities.iter().rev().map(activity).collect();
        Ok(boots(&activities))
    }

    async fn set_desired(&self, desired: u32) -> Result<(), Problem> {
        stands(&self.aws).await;
        let set = self.set(desired);
        // It falls before it hears what became of it.
        stands(&self.aws).await;
        set
    }
}

impl Port {
    fn set(&self, desired: u32) -> Result<(), Problem> {
        let mut aws = self.lock();
        let (now, index) = (aws.now, self.index);
        aws.writes += 1;
        if !aws.answers() {
            return Err(no_answer());
        }
        let refused = |e: lab::group::requests::Refusal| Problem::new(1, e.to_string());
        match aws.calls {
            Calls::NoWrites => return Err(Problem::new(77, "desired capacity may not be set")),
            Calls::LoseAnswers => {
                let _ = aws.groups[index].set_desired(desired, now);
                return Err(Problem::new(69, "the answer was lost"));
            }
            Calls::Late => aws.under_way.push((now + LATE, index, desired)),
            Calls::Twice => {
                aws.groups[index].set_desired(desired, now).map_err(refused)?;
                aws.under_way.push((now + LATE, index, desired));
            }
            _ => aws.groups[index].set_desired(desired, now).map_err(refused)?,
        }
        Ok(())
    }
}

fn no_answer() -> Problem {
    Problem::new(69, "AWS does not answer")
}

/// What the tags of a group say.
pub struct Tag {
    pub index: usize,
    pub stack: String,
    pub standing: Standing,
    pub agents: u32,
    pub most: u32,
}

/// All groups on the queue, as a scaler finds them.
pub struct Tagged {
    pub aws: Arc<Mutex<Aws>>,
    pub tags: Vec<Tag>,
}

impl scaler::ports::Groups for Tagged {
    async fn named(&self, names: &[String]) -> Vec<Result<Seen, Problem>> {
        names.iter().map(|name| Err(Problem::new(78, format!("group {name} is not tagged")))).collect()
    }

    async fn tagged(&self, queues: &[String]) -> Result<Vec<TaggedGroup>, Problem> {
        stands(&self.aws).await;
        let mut aws = self.aws.lock().unwrap_or_else(PoisonError::into_inner);
        if !aws.answers() {
            return Err(no_answer());
        }
        let groups = match aws.calls {
            Calls::LoseAnswers => return Err(no_answer()),
            Calls::Stale => &aws.past,
            _ => &aws.groups,
        };
        let told = self.tags.iter().map(|tag| TaggedGroup {
            name: tag.index.to_string(),
            queue: queues.join(","),
            stack: Some(tag.stack.clone()),
            standing: tag.standing,
            agents: tag.agents,
            most: Some(tag.most),
            seen: seen(&groups[tag.index]),
        });
        Ok(told.collect())
    }
}

/// Counted as `scaler::group` counts AWS's answer.
fn seen(group: &Group) -> Seen {
    let definition = &group.definition;
    let mut capacity =
        Capacity { min: definition.min, max: definition.max, desired: group.desired, ..Capacity::default() };
    let (mut booting, mut serving) = (std::collections::BTreeSet::new(), std::collections::BTreeSet::new());
    for member in &group.members {
        let in_service = member.lifecycle == Lifecycle::InService;
        if member.lifecycle.counts() {
            let _ = if in_service {
                serving.insert(member.id.clone())
            } else {
                booting.insert(member.id.clone())
            };
        }
        if !member.lifecycle.counts() || !member.healthy {
            continue;
        }
        capacity.live += 1;
        capacity.in_service += u32::from(in_service);
        if in_service && !member.protected { capacity.releasable += 1 } else { capacity.held += 1 }
    }
    let template = &definition.template;
    let launches_from = Some(format!("{}:{}", template.id, template.version));
    Seen { capacity, launches_from, booting, serving }
}

fn activity(told: &lab::group::model::Activity) -> Activity {
    let status = match told.status {
        ActivityStatus::Successful => "Successful",
        ActivityStatus::Cancelled => "Cancelled",
        ActivityStatus::Failed => "Failed",
        _ => "InProgress",
    };
    Activity {
        description: told.description.clone(),
        cause: told.cause.clone(),
        status: status.to_owned(),
        message: told.message.clone(),
        start: told.start,
        end: told.end,
    }
}
