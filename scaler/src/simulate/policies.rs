//! Policies to compare: the shipped planner, and rule models of what others do.

use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};

use super::alarms::ByAlarms;
use super::rules::{Alarms2018, ElasticCi, Ephemeral, IdleCount, Keda};
use super::trace::Millis;
use super::world::{IdlePeriod, Machines, Scaling, View, WhenIdle};
use crate::decide::{Jobs, Plan, Policy, decide, needed};
use crate::forecast::{Forecast, LookAhead};
use crate::schedule::{Effective, Schedule};
use crate::share::shares;

/// What the shipped planner is told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PlannerSettings {
    /// From one tick to the next.
    pub period: Millis,
    /// An instance's idle period; by each one's boot if absent, as on a stack.
    pub idle: Option<Millis>,
    /// Instances beyond the need, while there are jobs.
    pub buffer: u32,
    /// Instances' worth of idle agents beyond the need, jobs or not.
    pub floor: u32,
    /// How announcements count; `None`: not at all.
    pub look_ahead: Option<LookAhead>,
    /// What is wanted stands in the settings document.
    pub by_document: bool,
    /// The group is resized by alarms on what is published.
    pub by_alarms: bool,
}

/// What a settings document wants, over the time of a trace.
#[derive(Debug, Clone)]
pub struct Wish {
    /// Outside of all periods.
    pub policy: Policy,
    /// Instances of all groups together.
    pub most: u32,
    /// When something else is wanted.
    pub schedule: Schedule,
    /// The trace's second 0.
    pub begins: Timestamp,
}

impl Wish {
    /// The same where the trace begins so much later.
    #[must_use]
    pub fn later(mut self, by: Millis) -> Self {
        self.begins = self.begins.checked_add(SignedDuration::from_millis(by)).unwrap_or(Timestamp::MAX);
        self
    }

    fn at(&self, now: Millis) -> Effective {
        let now = self.begins.checked_add(SignedDuration::from_millis(now)).unwrap_or(Timestamp::MAX);
        self.schedule.policy_at(&self.policy, self.most, now)
    }

    /// The most instances that it ever keeps without jobs.
    fn kept(&self) -> u32 {
        let changes = self.schedule.periods.iter().map(|period| period.changes);
        let of_periods = changes.flat_map(|changes| [changes.idle_instances, changes.min_instances]);
        let base = [self.policy.idle_instances, self.policy.min_instances];
        of_periods.flatten().chain(base).max().unwrap_or(0)
    }
}

impl Default for PlannerSettings {
    fn default() -> Self {
        let look_ahead = Some(LookAhead::default());
        Self {
            period: 2000,
            idle: None,
            buffer: 0,
            floor: 0,
            look_ahead,
            by_document: false,
            by_alarms: false,
        }
    }
}

/// A policy by its name.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Choice {
    /// The shipped planner.
    Tidemark(PlannerSettings),
    /// [`ElasticCi`].
    ElasticCi,
    /// [`Alarms2018`].
    Alarms2018,
    /// [`Keda`].
    Keda,
    /// [`Ephemeral`].
    Ephemeral,
    /// [`IdleCount`].
    IdleCount,
}

impl Choice {
    /// Does it go by the settings document?
    #[must_use]
    pub fn is_by_document(&self) -> bool {
        matches!(self, Self::Tidemark(settings) if settings.by_document)
    }

    /// The policy, ready to start; one that goes by a settings document does so by this one.
    #[must_use]
    pub fn start(self, machines: &Machines, document: Option<&Wish>) -> Box<dyn Scaling> {
        let agents = machines.agents;
        match self {
            Self::Tidemark(settings) => {
                let document = document.filter(|_| settings.by_document);
                let planner = Planner::new(settings, document.cloned(), machines);
                if settings.by_alarms { Box::new(ByAlarms::new(planner)) } else { Box::new(planner) }
            }
            Self::ElasticCi => Box::new(ElasticCi::new(agents)),
            Self::Alarms2018 => Box::new(Alarms2018::default()),
            Self::Keda => Box::new(Keda::new(agents)),
            Self::Ephemeral => Box::new(Ephemeral::default()),
            Self::IdleCount => Box::new(IdleCount::new(agents)),
        }
    }
}

/// `tidemark`, `tidemark:idle=40s,percent=110`, or the name of a rule model.
impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, settings) = text.split_once(':').unwrap_or((text, ""));
        let of =
            |choice| if settings.is_empty() { Ok(choice) } else { Err(format!("{name} takes no settings")) };
        match name {
            "tidemark" => planner(settings).map(Self::Tidemark),
            "elastic-ci" => of(Self::ElasticCi),
            "alarms-2018" => of(Self::Alarms2018),
            "keda" => of(Self::Keda),
            "ephemeral" => of(Self::Ephemeral),
            "idle-count" => of(Self::IdleCount),
            _ => Err("give tidemark, elastic-ci, alarms-2018, keda, ephemeral or idle-count".to_owned()),
        }
    }
}

fn planner(settings: &str) -> Result<PlannerSettings, String> {
    let mut planner = PlannerSettings::default();
    let mut look_ahead = LookAhead::default();
    let mut is_blind = false;
    for setting in settings.split(',').filter(|setting| !setting.is_empty()) {
        let (name, value) = setting.split_once('=').unwrap_or((setting, ""));
        let period = || crate::config::duration(value).and_then(|d| Millis::try_from(d.as_millis()).ok());
        let number = || value.parse::<u32>().ok();
        let bad = |form: &str| format!("tidemark:{name}: give {form}");
        match name {
            "period" => planner.period = period().ok_or_else(|| bad("a duration like 2s"))?,
            "idle" => planner.idle = Some(period().ok_or_else(|| bad("a duration like 40s"))?),
            "buffer" => planner.buffer = number().ok_or_else(|| bad("a number of instances"))?,
            "floor" => planner.floor = number().ok_or_else(|| bad("a number of instances"))?,
            "patience" => {
                let patience = period().ok_or_else(|| bad("a duration like 90s"))?;
                look_ahead.patience = SignedDuration::from_millis(patience);
            }
            "percent" => look_ahead.percent = number().ok_or_else(|| bad("a percentage"))?,
            "most" => look_ahead.most = number().ok_or_else(|| bad("a number of jobs"))?,
            "blind" if value.is_empty() => is_blind = true,
            "settings" if value.is_empty() => planner.by_document = true,
            "alarms" if value.is_empty() => planner.by_alarms = true,
            _ => {
                return Err(format!(
                    "tidemark has no setting {name}: idle, period, buffer, floor, patience, percent, most, blind, settings, alarms"
                ));
            }
        }
    }
    planner.look_ahead = (!is_blind).then_some(look_ahead);
    Ok(planner)
}

/// The shipped planner.
#[derive(Debug)]
pub struct Planner {
    settings: PlannerSettings,
    wish: Wish,
    forecast: Forecast,
}

impl Planner {
    fn new(settings: PlannerSettings, document: Option<Wish>, machines: &Machines) -> Self {
        let policy = Policy {
            instance_buffer: settings.buffer,
            idle_instances: settings.floor,
            ..Policy::of_need(machines.agents)
        };
        let schedule = Schedule::default();
        let own = Wish { policy, most: u32::MAX, schedule, begins: Timestamp::UNIX_EPOCH };
        Self { settings, wish: document.unwrap_or(own), forecast: Forecast::default() }
    }

    /// What it decides now.
    pub fn plan(&mut self, view: &View<'_>) -> Plan {
        let expected = self.expected(view);
        let jobs = Jobs { scheduled: view.jobs.scheduled + u64::from(expected), ..view.jobs };
        let Effective { policy, most, .. } = self.wish.at(view.now);
        let share = shares(needed(&policy, &jobs), most, &[view.capacity])[0];
        decide(&policy, share, &view.capacity)
    }

    fn expected(&mut self, view: &View<'_>) -> u32 {
        let Some(look_ahead) = &self.settings.look_ahead else { return 0 };
        let now = Timestamp::from_millisecond(view.now).unwrap_or(Timestamp::MAX);
        for hint in view.hints {
            self.forecast.announce(hint.jobs, look_ahead, now);
        }
        self.forecast.note(view.jobs.scheduled + view.jobs.running, look_ahead, now)
    }
}

impl Scaling for Planner {
    fn period(&self) -> Millis {
        self.settings.period
    }

    fn is_woken(&self) -> bool {
        true
    }

    fn kept(&self) -> u32 {
        self.wish.kept()
    }

    fn when_idle(&self) -> WhenIdle {
        let after = self.settings.idle.map_or(IdlePeriod::ByBoot, IdlePeriod::For);
        WhenIdle::Release { after, retires: false }
    }

    fn look(&mut self, view: &View<'_>) -> u32 {
        self.plan(view).target().unwrap_or(view.capacity.desired)
    }
}
