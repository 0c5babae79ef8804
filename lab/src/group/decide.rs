//! From a group and a time to the steps that AWS takes. Pure.
//!
//! What looks like a rule of its own, the debt that protection leaves (DESIGN §5), follows from counting: desired
//! capacity beneath the protected instances takes the next one that loses protection, and a rise launches nothing
//! until as many instances as desired are left.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::apply::later;
use super::model::{Group, Lifecycle, Member, Wait};

/// A young instance's bad health counts only from then on: AWS looks at health now and then, not at every report. It
/// keeps an image that cannot boot from being launched over and over without a pause.
const HEALTH_COUNTS_AFTER: SignedDuration = SignedDuration::from_secs(10);

/// A launch that was given up is made good no sooner: it takes AWS that long to bring a machine up.
const LAUNCH_AFTER_ABANDONED: SignedDuration = SignedDuration::from_secs(10);

/// Why an instance is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// More capacity than desired.
    ScaleIn,
    /// It was reported unhealthy.
    Unhealthy,
    /// Somebody asked for this instance.
    Asked,
    /// A launching hook was abandoned.
    Abandoned,
}

/// One thing that the group does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Order an instance.
    Launch {
        /// In this zone.
        zone: String,
        /// Into the warm pool.
        warm: bool,
    },
    /// Start a stopped instance of the warm pool, to enter service.
    Wake {
        /// Which.
        id: String,
    },
    /// A launched instance leaves `Pending`: into `InService`, or into `Pending:Wait` where a hook holds it.
    Arrive {
        /// Which.
        id: String,
    },
    /// A launching hook has let go: `Pending:Wait` to `InService`, `Warmed:Pending:Wait` to `Warmed:Stopped`.
    Enter {
        /// Which.
        id: String,
    },
    /// An instance begins to end: `Terminating:Wait` where a hook holds it, else `Terminating:Proceed`.
    Retire {
        /// Which.
        id: String,
        /// Why.
        ending: Ending,
    },
    /// A terminating hook has let go, or waited long enough.
    Proceed {
        /// Which.
        id: String,
    },
    /// The machine is ended and leaves the group.
    End {
        /// Which.
        id: String,
    },
}

/// Everything to be done now. Applying it and asking again at the same time gives nothing new but the next stage
/// of each instance.
#[must_use]
pub fn reconcile(group: &Group, now: Timestamp) -> Vec<Step> {
    let mut steps: Vec<Step> = group.members.iter().filter_map(|m| advance(group, m, now)).collect();
    let going: Vec<String> = steps.iter().filter_map(retired).collect();
    let capacity = group.capacity() - going.len();
    let wanted = group.desired.min(group.definition.max) as usize;
    let gives_up = |step: &Step| matches!(step, Step::Retire { ending: Ending::Abandoned, .. });
    let gave_up = group.abandoned.is_some_and(|at| now < later(at, LAUNCH_AFTER_ABANDONED))
        || steps.iter().any(gives_up);
    let mut woken = 0;
    if capacity < wanted {
        let missing = wanted - capacity;
        let stopped = |m: &&Member| m.lifecycle == Lifecycle::WarmedStopped && !going.contains(&m.id);
        steps.extend(
            group.members.iter().filter(stopped).take(missing).map(|m| Step::Wake { id: m.id.clone() }),
        );
        woken = steps.iter().filter(|step| matches!(step, Step::Wake { .. })).count();
        if !gave_up {
            steps.extend(launches(group, missing - woken, false));
        }
    } else {
        steps.extend(scale_in(group, capacity - wanted, &going));
    }
    steps.extend(warm_pool(group, woken, gave_up, &going));
    steps
}

/// What fills the warm pool, or empties one that has become smaller.
fn warm_pool(group: &Group, woken: usize, gave_up: bool, going: &[String]) -> Vec<Step> {
    let stays = |m: &&Member| m.lifecycle.is_warmed() && !going.contains(&m.id);
    let warmed = group.members.iter().filter(stays).count() - woken;
    let wanted = group.definition.warm as usize;
    if warmed <= wanted {
        return if gave_up { Vec::new() } else { launches(group, wanted - warmed, true) };
    }
    let stopped = group.members.iter().filter(stays).filter(|m| m.lifecycle == Lifecycle::WarmedStopped);
    let ends = |m: &Member| Step::Retire { id: m.id.clone(), ending: Ending::ScaleIn };
    stopped.skip(woken).take(warmed - wanted).map(ends).collect()
}

/// The instance that a step retires.
fn retired(step: &Step) -> Option<String> {
    match step {
        Step::Retire { id, .. } => Some(id.clone()),
        _ => None,
    }
}

/// What one instance does by itself.
fn advance(group: &Group, member: &Member, now: Timestamp) -> Option<Step> {
    let id = member.id.clone();
    match member.lifecycle {
        Lifecycle::Pending | Lifecycle::WarmedPending if member.running => Some(Step::Arrive { id }),
        Lifecycle::Pending | Lifecycle::WarmedPending | Lifecycle::WarmedStopped => None,
        Lifecycle::PendingWait | Lifecycle::WarmedPendingWait => match silent(member, now) {
            Some(wait) if !continues(group, wait) => Some(Step::Retire { id, ending: Ending::Abandoned }),
            _ if all_over(member, now) => Some(Step::Enter { id }),
            _ => None,
        },
        // Protection is from scale-in only: bad health ends a protected instance too.
        Lifecycle::InService if !member.healthy && now >= later(member.launched, HEALTH_COUNTS_AFTER) => {
            Some(Step::Retire { id, ending: Ending::Unhealthy })
        }
        Lifecycle::InService => None,
        Lifecycle::TerminatingWait => all_over(member, now).then_some(Step::Proceed { id }),
        Lifecycle::TerminatingProceed => Some(Step::End { id }),
    }
}

fn over(wait: &Wait, now: Timestamp) -> bool {
    now >= wait.deadline || now >= wait.limit
}

fn all_over(member: &Member, now: Timestamp) -> bool {
    member.waits.iter().all(|w| over(w, now))
}

fn silent(member: &Member, now: Timestamp) -> Option<&Wait> {
    member.waits.iter().find(|w| over(w, now))
}

fn continues(group: &Group, wait: &Wait) -> bool {
    group.definition.hooks.iter().find(|h| h.name == wait.hook).is_none_or(|h| h.silence_continues)
}

/// New instances go where the fewest are.
fn launches(group: &Group, count: usize, warm: bool) -> Vec<Step> {
    let mut by_zone: Vec<(usize, &str)> = group
        .definition
        .zones
        .iter()
        .map(|zone| {
            (group.members.iter().filter(|m| m.lifecycle.counts() && m.zone == *zone).count(), &**zone)
        })
        .collect();
    let mut steps = Vec::new();
    for _ in 0..count {
        let Some(least) = by_zone.iter_mut().min_by_key(|(instances, _)| *instances) else { break };
        least.0 += 1;
        steps.push(Step::Launch { zone: least.1.to_owned(), warm });
    }
    steps
}

/// AWS's default termination policy among those it may end: the fullest zone, then the oldest launch template
/// version, then the oldest instance.
fn scale_in(group: &Group, excess: usize, going: &[String]) -> Vec<Step> {
    let mut zones: BTreeMap<&str, usize> = BTreeMap::new();
    for member in group.members.iter().filter(|m| m.lifecycle.counts()) {
        *zones.entry(&member.zone).or_default() += 1;
    }
    let may_go = |m: &&Member| m.lifecycle == Lifecycle::InService && !m.protected && !going.contains(&m.id);
    let mut choice: Vec<&Member> = group.members.iter().filter(may_go).collect();
    let mut steps = Vec::new();
    for _ in 0..excess {
        let best = choice.iter().enumerate().min_by_key(|(_, m)| {
            let version: u64 = m.template_version.parse().unwrap_or(0);
            (Reverse(zones.get(&*m.zone).copied().unwrap_or(0)), version, m.launched)
        });
        let Some((position, _)) = best else { break };
        let member = choice.remove(position);
        zones.entry(&member.zone).and_modify(|n| *n -= 1);
        steps.push(Step::Retire { id: member.id.clone(), ending: Ending::ScaleIn });
    }
    steps
}
