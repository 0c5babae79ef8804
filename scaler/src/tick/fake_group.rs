//! A group in memory that refuses what AWS refuses: the double for tests of ticks. `tests/contracts` holds it and the
//! adapter to one suite.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use crate::allot::Standing;
use crate::brake::Seen;
use crate::decide::Capacity;
use crate::ports::{Group, Groups, Problem};
use crate::sharing::TaggedGroup;
use lifecycle::boots::Boot;

/// A group, or the lack of one. A clone is the same group.
#[derive(Debug, Clone)]
pub struct FakeGroup {
    name: String,
    inside: Arc<Mutex<Inside>>,
}

#[derive(Debug)]
struct Inside {
    capacity: Option<Capacity>,
    next_max: Option<u32>,
    set: Vec<u32>,
    version: u32,
    boots: Option<Vec<Boot>>,
    asked: usize,
}

impl FakeGroup {
    /// A group with this capacity; none is a name without a group.
    pub fn new(name: impl Into<String>, capacity: Option<Capacity>) -> Self {
        let boots = Some(Vec::new());
        let inside = Inside { capacity, next_max: None, set: Vec::new(), version: 1, boots, asked: 0 };
        Self { name: name.into(), inside: Arc::new(Mutex::new(inside)) }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Somebody changes the maximum right after the group was described.
    #[must_use]
    pub fn with_max_after_describe(self, max: u32) -> Self {
        self.lock().next_max = Some(max);
        self
    }

    /// AWS launches all that is desired, and all of it is busy.
    pub fn launched(&self) {
        if let Some(capacity) = &mut self.lock().capacity {
            let live = capacity.desired;
            *capacity = Capacity { live, in_service: live, held: live, releasable: 0, ..*capacity };
        }
    }

    /// Somebody sets desired capacity.
    pub fn set_by_hand(&self, desired: u32) {
        if let Some(capacity) = &mut self.lock().capacity {
            capacity.desired = desired;
        }
    }

    /// A boot that AWS began a second before it ended.
    pub fn booted(&self, instance: &str, ended: Timestamp, failure: Option<&str>) {
        let began = Timestamp::from_second(ended.as_second() - 1).unwrap_or(ended);
        let boot = Boot { instance: instance.to_owned(), began, ended, failure: failure.map(str::to_owned) };
        self.lock().boots.get_or_insert_default().insert(0, boot);
    }

    /// AWS does not tell of boots any more.
    pub fn hide_boots(&self) {
        self.lock().boots = None;
    }

    /// The group launches the next version of its template from now on.
    pub fn update(&self) {
        self.lock().version += 1;
    }

    /// How often it was asked about boots.
    #[must_use]
    pub fn asked_for_boots(&self) -> usize {
        self.lock().asked
    }

    /// Desired capacities that were set, in order.
    #[must_use]
    pub fn set(&self) -> Vec<u32> {
        self.lock().set.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FakeGroup {
    fn describe(&self) -> Result<Seen, Problem> {
        let mut inside = self.lock();
        let (seen, next_max) = (inside.capacity, inside.next_max);
        inside.capacity = seen.map(|now| Capacity { max: next_max.unwrap_or(now.max), ..now });
        let capacity = seen.ok_or_else(|| Problem::new(78, format!("group {} does not exist", self.name)))?;
        let ids = |kind: &str, count: u32| (0..count).map(|n| format!("i-{kind}{n}")).collect();
        Ok(Seen {
            launches_from: Some(format!("lt-1:{}", inside.version)),
            booting: ids("b", capacity.live.saturating_sub(capacity.in_service)),
            serving: ids("s", capacity.in_service),
            capacity,
        })
    }
}

/// Groups that are looked at together.
#[derive(Debug, Clone, Default)]
pub struct FakeGroups {
    /// The groups.
    pub groups: Vec<FakeGroup>,
    /// Do they carry the tag of the queue of their name, or else of the first that is asked for?
    pub tagged: bool,
}

impl Groups for FakeGroups {
    async fn tagged(&self, queues: &[String]) -> Result<Vec<TaggedGroup>, Problem> {
        let tagged = |group: &FakeGroup| {
            let own = queues.iter().find(|queue| **queue == group.name);
            Some(TaggedGroup {
                name: group.name.clone(),
                queue: own.or(queues.first())?.clone(),
                stack: Some("own".to_owned()),
                standing: Standing::default(),
                agents: 1,
                most: None,
                seen: group.describe().ok()?,
            })
        };
        Ok(self.groups.iter().filter(|_| self.tagged).filter_map(tagged).collect())
    }

    async fn named(&self, names: &[String]) -> Vec<Result<Seen, Problem>> {
        let absent = |name: &String| Problem::new(78, format!("group {name} does not exist"));
        let find =
            |name: &String| self.groups.iter().find(|group| group.name == *name).ok_or_else(|| absent(name));
        names.iter().map(|name| find(name)?.describe()).collect()
    }
}

impl Group for FakeGroup {
    async fn boots(&self) -> Result<Vec<Boot>, Problem> {
        let mut inside = self.lock();
        inside.asked += 1;
        let told = inside.boots.clone();
        told.ok_or_else(|| Problem::new(75, format!("group {}: the boots are not told", self.name)))
    }

    async fn set_desired(&self, desired: u32) -> Result<(), Problem> {
        let mut inside = self.lock();
        let Some(capacity) = &mut inside.capacity else {
            return Err(Problem::new(1, format!("group {} not found", self.name)));
        };
        if desired > capacity.max || desired < capacity.min {
            return Err(Problem::new(1, format!("group {}: {desired} is outside of its limits", self.name)));
        }
        capacity.desired = desired;
        inside.set.push(desired);
        Ok(())
    }
}
