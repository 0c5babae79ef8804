//! What a group and its members are.

use jiff::{SignedDuration, Timestamp};

/// Where instances of a group come from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TemplateRef {
    /// `lt-…`.
    pub id: String,
    /// Its name.
    pub name: String,
    /// As the group says it: a number, `$Latest` or `$Default`.
    pub version: String,
}

/// How a group with a mixed instances policy divides its instances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distribution {
    /// For example `prioritized`.
    pub on_demand_strategy: String,
    /// So many on-demand instances first.
    pub on_demand_base: u32,
    /// The share of on-demand instances beyond that, in percent.
    pub on_demand_percentage: u32,
    /// For example `lowest-price`.
    pub spot_strategy: String,
}

impl Distribution {
    /// Are all of its instances spot instances?
    #[must_use]
    pub fn is_spot(&self) -> bool {
        self.on_demand_base == 0 && self.on_demand_percentage == 0
    }
}

/// Which end of an instance's life a hook holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transition {
    /// `autoscaling:EC2_INSTANCE_LAUNCHING`
    Launching,
    /// `autoscaling:EC2_INSTANCE_TERMINATING`
    Terminating,
}

impl Transition {
    /// The API's word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Launching => "autoscaling:EC2_INSTANCE_LAUNCHING",
            Self::Terminating => "autoscaling:EC2_INSTANCE_TERMINATING",
        }
    }

    /// From the API's word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Launching, Self::Terminating].into_iter().find(|t| t.word() == word)
    }
}

/// A lifecycle hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// Unique in the group.
    pub name: String,
    /// What it holds.
    pub transition: Transition,
    /// How long it holds without a heartbeat.
    pub heartbeat: SignedDuration,
    /// Does silence mean go on (`CONTINUE`), or give up (`ABANDON`)?
    pub silence_continues: bool,
}

impl Hook {
    /// The longest an instance can be held, however many heartbeats: 48 hours or 100 timeouts, the smaller.
    #[must_use]
    pub fn limit(&self) -> SignedDuration {
        SignedDuration::from_hours(48).min(self.heartbeat.saturating_mul(100))
    }
}

/// A tag of the group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// Key.
    pub key: String,
    /// Value.
    pub value: String,
    /// Do instances get it?
    pub at_launch: bool,
}

/// What the stack says about a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// Name, unique in the region.
    pub name: String,
    /// ARN.
    pub arn: String,
    /// Least desired capacity.
    pub min: u32,
    /// Greatest desired capacity.
    pub max: u32,
    /// Are new instances protected from scale-in?
    pub protect_new: bool,
    /// Availability zones.
    pub zones: Vec<String>,
    /// Subnets, comma separated as the API has them.
    pub subnets: String,
    /// Where instances come from.
    pub template: TemplateRef,
    /// Instance types in order of preference; the template's own when empty.
    pub types: Vec<String>,
    /// There with a mixed instances policy: the group then names its launch template in that alone.
    pub mixed: Option<Distribution>,
    /// Bad health is ignored so long after the launch, when the caller asks for it.
    pub grace: SignedDuration,
    /// Instances that are kept prepared and stopped beside those desired: the warm pool's absolute size.
    pub warm: u32,
    /// Lifecycle hooks.
    pub hooks: Vec<Hook>,
    /// Tags.
    pub tags: Vec<Tag>,
    /// When it was created.
    pub created: Timestamp,
}

/// AWS's lifecycle states, as far as a group without standby knows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifecycle {
    /// Being launched into the warm pool.
    WarmedPending,
    /// Launched into the warm pool, held by a launching hook.
    WarmedPendingWait,
    /// Prepared and stopped.
    WarmedStopped,
    /// Being launched.
    Pending,
    /// Launched, held by a launching hook.
    PendingWait,
    /// Counted and used.
    InService,
    /// To be ended, held by a terminating hook.
    TerminatingWait,
    /// To be ended now.
    TerminatingProceed,
}

impl Lifecycle {
    /// The API's word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::WarmedPending => "Warmed:Pending",
            Self::WarmedPendingWait => "Warmed:Pending:Wait",
            Self::WarmedStopped => "Warmed:Stopped",
            Self::Pending => "Pending",
            Self::PendingWait => "Pending:Wait",
            Self::InService => "InService",
            Self::TerminatingWait => "Terminating:Wait",
            Self::TerminatingProceed => "Terminating:Proceed",
        }
    }

    /// What the metadata service tells the instance as `autoscaling/target-lifecycle-state`.
    #[must_use]
    pub fn target(self) -> &'static str {
        match self {
            Self::WarmedPending | Self::WarmedPendingWait | Self::WarmedStopped => "Warmed:Stopped",
            Self::Pending | Self::PendingWait | Self::InService => "InService",
            Self::TerminatingWait | Self::TerminatingProceed => "Terminated",
        }
    }

    /// Is it in the warm pool?
    #[must_use]
    pub fn is_warmed(self) -> bool {
        matches!(self, Self::WarmedPending | Self::WarmedPendingWait | Self::WarmedStopped)
    }

    /// Does the instance count against desired capacity?
    #[must_use]
    pub fn counts(self) -> bool {
        matches!(self, Self::Pending | Self::PendingWait | Self::InService)
    }
}

/// A hook that holds an instance now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// The hook's name.
    pub hook: String,
    /// Names this one wait in `CompleteLifecycleAction`.
    pub token: String,
    /// Without a heartbeat it ends here.
    pub deadline: Timestamp,
    /// With heartbeats it ends here.
    pub limit: Timestamp,
}

/// An instance of the group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// `i-…`.
    pub id: String,
    /// Availability zone.
    pub zone: String,
    /// For example `c7a.large`.
    pub instance_type: String,
    /// Version number of the launch template it was made from.
    pub template_version: String,
    /// When it was ordered.
    pub launched: Timestamp,
    /// Has the machine come up (EC2's `running`)?
    pub running: bool,
    /// Where it is in its life.
    pub lifecycle: Lifecycle,
    /// `Healthy` or `Unhealthy`.
    pub healthy: bool,
    /// Protected from scale-in?
    pub protected: bool,
    /// Hooks that hold it.
    pub waits: Vec<Wait>,
}

/// How a scaling activity stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActivityStatus {
    /// Under way.
    InProgress,
    /// Held by a lifecycle hook.
    MidLifecycleAction,
    /// Done.
    Successful,
    /// No instance came of it.
    Failed,
    /// The instance was given up before it was in service.
    Cancelled,
}

/// One line of the group's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activity {
    /// Unique.
    pub id: String,
    /// The instance it is about.
    pub instance: String,
    /// What happens.
    pub description: String,
    /// Why, in AWS's sentences.
    pub cause: String,
    /// What went wrong, when it failed.
    pub message: String,
    /// When it began.
    pub start: Timestamp,
    /// When it ended.
    pub end: Option<Timestamp>,
    /// How it stands.
    pub status: ActivityStatus,
}

/// A group: its definition and its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// What the stack says.
    pub definition: Definition,
    /// Desired capacity.
    pub desired: u32,
    /// Who set desired capacity last, in AWS's words, for the causes of activities.
    pub reason: String,
    /// Instances, oldest first. Terminated ones are gone.
    pub members: Vec<Member>,
    /// History, oldest first.
    pub activities: Vec<Activity>,
    /// When a launch was given up last.
    pub abandoned: Option<Timestamp>,
}

impl Group {
    /// A new group without instances; desired capacity starts at the minimum.
    #[must_use]
    pub fn new(definition: Definition) -> Self {
        let desired = definition.min;
        Self {
            definition,
            desired,
            reason: String::new(),
            members: Vec::new(),
            activities: Vec::new(),
            abandoned: None,
        }
    }

    /// Takes a new definition. Desired capacity is moved into the new limits.
    pub fn redefine(&mut self, definition: Definition) {
        self.desired = self.desired.clamp(definition.min, definition.max.max(definition.min));
        self.definition = definition;
    }

    /// The member with this id.
    #[must_use]
    pub fn member(&self, id: &str) -> Option<&Member> {
        self.members.iter().find(|m| m.id == id)
    }

    /// The member with this id, to change.
    pub fn member_mut(&mut self, id: &str) -> Option<&mut Member> {
        self.members.iter_mut().find(|m| m.id == id)
    }

    /// How many members count against desired capacity.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.members.iter().filter(|m| m.lifecycle.counts()).count()
    }

    /// How many members are in service.
    #[must_use]
    pub fn in_service(&self) -> usize {
        self.members.iter().filter(|m| m.lifecycle == Lifecycle::InService).count()
    }
}
