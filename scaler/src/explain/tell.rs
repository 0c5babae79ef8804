//! A record in plain words. Pure.

use std::fmt::Write as _;

use jiff::Timestamp;

use crate::brake::Failing;
use crate::decide::{Plan, Reason, Step, needed, needed_by_jobs};
use crate::reading::Doubt;
use crate::record::{GroupSeen, Inputs, Known, Moved, Record};
use crate::sharing::{Fellows, Sharing};

/// What there is to say of a record: a few lines, without its time.
#[must_use]
pub fn tell(record: &Record) -> Vec<String> {
    let mut lines = Vec::new();
    let inputs = &record.inputs;
    if record.plan.iter().any(Option::is_none) {
        lines.push(format!("{}: nothing is changed while something is unknown", blind(inputs)));
    }
    let plans = inputs.groups.iter().zip(&record.plan);
    let gaps = inputs.gaps(&record.plan);
    let plans = plans.zip(gaps);
    let told = plans.clone().filter_map(|((group, plan), gap)| {
        let plan = plan.as_ref().filter(|plan| {
            let owes = group.known.as_ref().is_some_and(|known| inputs.owes(known));
            plan.reason != Reason::Enough || plan.target().is_some() || owes
        })?;
        Some(of_group(record, group, plan, gap))
    });
    lines.extend(told);
    for (group, moved) in inputs.groups.iter().zip(&record.moved) {
        lines.extend(of_instances(moved).map(|moves| format!("{}: {moves}", group.name)));
    }
    if lines.is_empty() {
        let steady = plans.filter_map(|((group, plan), gap)| plan.as_ref().map(|plan| (group, plan, gap)));
        lines.extend(steady.map(|(group, plan, gap)| of_group(record, group, plan, gap)));
    }
    let left = |owner| format!("not lowered here: that is left to {owner}");
    lines.extend(record.left_to.as_ref().map(left));
    lines.extend(record.problems.iter().map(|problem| format!("failed: {problem}")));
    if let Err(plans) = record.replay() {
        lines.push(other_plan(record, &plans));
    }
    lines
}

/// Which groups hold how many, when nothing is known.
fn blind(inputs: &Inputs) -> String {
    let held = |group: &GroupSeen| match &group.known {
        Some(known) => format!("{} stays at {}", group.name, known.capacity.desired),
        None => format!("{} is not known", group.name),
    };
    let groups: Vec<String> = inputs.groups.iter().map(held).collect();
    let jobs = if inputs.jobs.is_none() { "the jobs are not known; " } else { "" };
    let stacks =
        if inputs.sharing == Sharing::Unknown { "other stacks on the queue are not known; " } else { "" };
    format!("{jobs}{stacks}{}", groups.join(", "))
}

/// In alarms mode a step is what is wanted, and `gap` what the alarms are told of it.
fn of_group(record: &Record, group: &GroupSeen, plan: &Plan, gap: Option<i64>) -> String {
    let inputs = &record.inputs;
    let mut line = format!("{}: ", group.name);
    if record.dry_run {
        line.push_str("(dry run) ");
    }
    let from = match plan.step {
        Step::Hold => group.known.as_ref().map_or(0, |known| known.capacity.desired),
        Step::ScaleOut { from, .. } | Step::ScaleIn { from, .. } => from,
    };
    // A `String` takes all that is written.
    let _ = match plan.target().zip(gap) {
        Some((to, gap)) => {
            let wants = instances(to);
            let none = no_gap(group.known.as_ref().filter(|_| gap == 0), plan);
            write!(line, "at {from}, wants {wants}, CapacityGap {gap} for the alarms{none}: ")
        }
        None => write!(line, "{}{}: ", step(plan, from), not_set(record, group)),
    };
    if let Some(known) = &group.known {
        line.push_str(&why(inputs, known, plan));
        line.push_str(&owed(inputs, known, plan));
        line.push_str(&phantoms(known, plan));
    }
    line
}

/// AWS refused the step, or did not answer: the failure itself is told by itself.
fn not_set(record: &Record, group: &GroupSeen) -> &'static str {
    let call = format!("autoscaling:SetDesiredCapacity on {}:", group.name);
    if record.problems.iter().any(|problem| problem.starts_with(&call)) { ", which failed" } else { "" }
}

/// Why the alarms are told of nothing, though more or less is wanted.
fn no_gap(known: Option<&Known>, plan: &Plan) -> &'static str {
    match (plan.step, known.map(|known| &known.capacity)) {
        (Step::ScaleOut { .. }, Some(_)) => ", as all groups together have their most",
        (Step::ScaleIn { .. }, Some(group)) if group.in_service != group.desired => {
            ", which let none go while some boot or are owed"
        }
        (Step::ScaleIn { .. }, Some(_)) => ", which leave the last idle one beside busy ones",
        _ => "",
    }
}

fn step(plan: &Plan, from: u32) -> String {
    match plan.target() {
        Some(to) => format!("{from} -> {}", instances(to)),
        None => format!("stays at {}", instances(from)),
    }
}

fn why(inputs: &Inputs, known: &Known, plan: &Plan) -> String {
    let (group, shortage) = known.weigh(inputs.wanted.patience, inputs.at);
    let need = need(inputs);
    match plan.reason {
        Reason::Need | Reason::Floor | Reason::AtMaximum | Reason::Paused => need,
        Reason::Enough => format!("{need}: as many as desired"),
        Reason::Surplus => {
            let held = if group.held > 0 { format!("; {} held", are(group.held)) } else { String::new() };
            format!("{need}; {} idle and gave up protection{held}", are(group.releasable))
        }
        Reason::AllHeld => {
            format!("{need}, but {} held: busy, booting or not idle for long enough", are(group.held))
        }
        Reason::Short => {
            let since = shortage.owed_since().map_or_else(String::new, |at| format!(" since {}", clock(at)));
            format!("AWS owes {}{since}: called off, another group is asked", instances(group.owed()))
        }
        Reason::BootsFail => {
            format!("{need}; {}", brake(inputs.at, known.boots_failing.as_ref(), plan))
        }
        Reason::OutsideLimits => {
            format!("desired capacity was outside of the group's limits, {} to {}", group.min, group.max)
        }
        Reason::ProtectedAboveDesired => format!(
            "{} held, more than desired: AWS would end the next one that becomes idle",
            are(group.stays())
        ),
        Reason::Disabled if plan.needed > group.desired || group.stays() > group.desired => {
            format!("{need}, but the settings forbid to scale out")
        }
        Reason::Disabled => format!("{need}, but the settings forbid to scale in"),
        Reason::InDoubt => format!("{need}, but {}: nothing is lowered by it", doubt(inputs)),
    }
}

/// What AWS does not launch, where nobody else is asked for it.
fn owed(inputs: &Inputs, known: &Known, plan: &Plan) -> String {
    if plan.reason == Reason::Short || !inputs.owes(known) {
        return String::new();
    }
    let since = known.weigh(inputs.wanted.patience, inputs.at).1.owed_since();
    let since = since.map_or_else(String::new, |at| format!(" since {}", clock(at)));
    format!("; AWS owes {}{since}, the group's activities say why", instances(known.capacity.owed()))
}

/// What is no capacity to come any more.
fn phantoms(known: &Known, plan: &Plan) -> String {
    let (phantom @ 1.., Some(budget)) = (known.capacity.phantom, known.boot_budget) else {
        return String::new();
    };
    let named = known.phantoms.join(", ");
    let more = phantom.saturating_sub(u32::try_from(known.phantoms.len()).unwrap_or(u32::MAX));
    let who = match (known.phantoms.is_empty(), more) {
        (true, _) => phantom.to_string(),
        (false, 0) => named,
        (false, more) => format!("{named} and {more} more"),
    };
    let are = if phantom == 1 { "is a phantom" } else { "are phantoms" };
    let full = if plan.reason == Reason::AtMaximum && plan.target().is_none() {
        ", but the maximum has no place for a successor"
    } else {
        ""
    };
    format!("; {who} {are}, booting for longer than {budget:#}: not counted{full}")
}

/// Why the job counts lower nothing.
fn doubt(inputs: &Inputs) -> String {
    match inputs.doubt {
        Some(Doubt::Stale { as_of }) => format!("the CI's answer is of {}", clock(as_of)),
        _ => "the CI's answer is incomplete".to_owned(),
    }
}

/// What the jobs ask for, and those that ask for nothing because the queue is paused.
fn need(inputs: &Inputs) -> String {
    let asked = format!("{}{}", asked(inputs), unmatched(inputs));
    if !inputs.paused {
        return asked;
    }
    let held_back = match inputs.held_back() {
        0 => String::new(),
        1 => ", 1 job waits for that to end".to_owned(),
        count => format!(", {count} jobs wait for that to end"),
    };
    format!("the queue is paused{held_back}: {asked}")
}

/// Jobs that nobody here can run.
fn unmatched(inputs: &Inputs) -> String {
    match inputs.unmatched {
        0 => String::new(),
        1 => " (1 more asks for other agents)".to_owned(),
        count => format!(" ({count} more ask for other agents)"),
    }
}

/// What the jobs ask for that ask for anything.
fn asked(inputs: &Inputs) -> String {
    let Some(jobs) = inputs.jobs else { return "the jobs are not known".to_owned() };
    let policy = &inputs.wanted.policy;
    let waiting = if policy.include_waiting && !inputs.paused { jobs.waiting } else { 0 };
    let (scheduled, announced) =
        if inputs.paused { (0, 0) } else { (jobs.scheduled, u64::from(inputs.expected)) };
    let counted =
        [(scheduled, "scheduled"), (jobs.running, "running"), (waiting, "waiting"), (announced, "announced")];
    let counted: Vec<(u64, &str)> = counted.into_iter().filter(|(count, _)| *count > 0).collect();
    let here = inputs.jobs().unwrap_or(jobs);
    let by_jobs = needed_by_jobs(policy, &here);
    let beyond = |text: String| {
        let kept = kept(inputs, by_jobs);
        let part = inputs.part().map_or_else(|| needed(policy, &here), |(part, _)| part.instances);
        let limit = limit(inputs, part).map_or_else(String::new, |limit| format!(", but {limit}"));
        format!("{text}{kept}{limit}")
    };
    let Some((first, state)) = counted.first() else {
        return beyond(if inputs.paused { "no job runs" } else { "no jobs" }.to_owned());
    };
    let at_least = if inputs.doubt == Some(Doubt::Incomplete) { "at least " } else { "" };
    let mut text = format!("{at_least}{first} job{} {state}", if *first == 1 { "" } else { "s" });
    for (place, (count, state)) in counted.iter().enumerate().skip(1) {
        let and = if place + 1 == counted.len() { " and" } else { "," };
        // A `String` takes all that is written.
        let _ = write!(text, "{and} {count} {state}");
    }
    let one = counted.len() == 1 && *first == 1;
    let share = inputs.wanted.share;
    if !share.is_all() {
        let _ = write!(text, ", {share} of them for here,");
    }
    // A `String` takes all that is written.
    let _ = write!(text, " need{} {}", if one { "s" } else { "" }, instances(by_jobs));
    if policy.agents_per_instance > 1 {
        let _ = write!(text, " of {} agents", policy.agents_per_instance);
    }
    if policy.instance_buffer > 0 {
        let _ = write!(text, ", {} of them as a buffer", policy.instance_buffer);
    }
    if let Sharing::With(fellows) = &inputs.sharing {
        let _ = write!(text, ", {}", shared(inputs, fellows));
    }
    beyond(text)
}

/// What the policy keeps beyond what jobs need, and the period that may say so.
fn kept(inputs: &Inputs, by_jobs: u32) -> String {
    let wanted = &inputs.wanted;
    let (idle, min) = (wanted.policy.idle_instances, wanted.policy.min_instances);
    let mut text = String::new();
    // A `String` takes all that is written.
    if idle > 0 {
        let are = if idle == 1 { "instance is" } else { "instances are" };
        let _ = write!(text, ", {idle} idle {are} kept beyond that");
    }
    if min > by_jobs.saturating_add(idle) {
        let _ = write!(text, ", and min-instances is {min}");
    }
    if let Some(period) = &wanted.period {
        let _ = write!(text, " (period `{period}`)");
    }
    text
}

/// This stack's part, and who has the others.
fn shared(inputs: &Inputs, fellows: &Fellows) -> String {
    let here = inputs.part().map_or_else(|| "some".to_owned(), |(part, _)| part.by_jobs.to_string());
    let silent: Vec<&str> =
        fellows.silent(inputs.wanted.patience, inputs.at).map(|other| other.stack.as_str()).collect();
    let others = fellows.others.iter().map(|other| {
        let name = &other.stack;
        let does_not = if silent.contains(&name.as_str()) { ", which does not deliver" } else { "" };
        format!("stack {name} with {} desired{does_not}", other.capacity.desired)
    });
    format!("{here} of them from this stack beside {}", others.collect::<Vec<_>>().join(" and "))
}

/// The limit of all groups together that a need does not fit into.
fn limit(inputs: &Inputs, needed: u32) -> Option<String> {
    let weighed = inputs.weighed();
    let all = weighed.iter().flatten().fold(0u32, |sum, group| sum.saturating_add(group.max));
    let most = inputs.wanted.most;
    let told = match () {
        () if most < all => format!("the maximum of all groups together is {most}"),
        () if weighed.len() > 1 => format!("the groups' maximum is {all} in all"),
        () => format!("the group's maximum is {all}"),
    };
    (weighed.iter().all(Option::is_some) && needed > most.min(all)).then_some(told)
}

fn brake(now: Timestamp, failing: Option<&Failing>, plan: &Plan) -> String {
    let Some(Failing { in_a_row, last, next_probe }) = failing else {
        return "boots keep failing".to_owned();
    };
    let words = last.failure.as_deref().unwrap_or("no reason given");
    let failed = format!(
        "{in_a_row} boots in a row failed, the last of {} at {} ({words})",
        last.instance,
        clock(last.ended)
    );
    let next = match plan.step {
        Step::ScaleOut { .. } => "one more is tried".to_owned(),
        _ if *next_probe > now => format!("one is tried when jobs wait, at {} or later", clock(*next_probe)),
        _ => "no more than one at a time is tried".to_owned(),
    };
    format!("brake: {failed}; {next}")
}

fn of_instances(moved: &Moved) -> Option<String> {
    let kinds = [(&moved.booting, "boot"), (&moved.in_service, "in service"), (&moved.left, "left")];
    let mut parts: Vec<String> = kinds
        .into_iter()
        .filter(|(ids, _)| !ids.is_empty())
        .map(|(ids, what)| {
            let what = if what == "boot" && ids.len() == 1 { "boots" } else { what };
            format!("{} {what}", ids.join(", "))
        })
        .collect();
    if moved.more > 0 {
        parts.push(format!("{} more", moved.more));
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// The program of today decides otherwise.
fn other_plan(record: &Record, plans: &[Option<Plan>]) -> String {
    let target = |plan: &Option<Plan>| {
        let step = plan.map(|plan| plan.target().map_or_else(|| "stay".to_owned(), |to| to.to_string()));
        step.unwrap_or_else(|| "unknown".to_owned())
    };
    let targets = |plans: &[Option<Plan>]| plans.iter().map(target).collect::<Vec<_>>().join(", ");
    format!(
        "does not replay: scaler {} decided {}, this program ({}) decides {}",
        record.scaler,
        targets(&record.plan),
        env!("CARGO_PKG_VERSION"),
        targets(plans)
    )
}

fn instances(count: u32) -> String {
    format!("{count} instance{}", if count == 1 { "" } else { "s" })
}

fn are(count: u32) -> String {
    format!("{count} {}", if count == 1 { "is" } else { "are" })
}

/// A time of day, in UTC.
#[must_use]
pub fn clock(at: Timestamp) -> String {
    at.strftime("%H:%M:%S").to_string()
}

#[cfg(test)]
mod tests;
