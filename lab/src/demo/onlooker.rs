//! The demo as an onlooker: prints what happens, keeps samples for the chart and lines for the report.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};

use super::chart::Sample;
use super::ci::{self, Ci};
use super::report::CapacityLine;
use super::timeline::{Look, between};
use crate::group::model::Group;
use crate::lab::Lab;
use crate::stack::Stack;

/// How often the demo looks.
const LOOK: Duration = Duration::from_millis(200);
/// Longer than any machine needs; a demo that takes so long is broken.
const PATIENCE: Duration = Duration::from_secs(480);

/// Prints the timeline; on a terminal a progress bar stands below it.
pub struct Screen {
    began: Instant,
    bar: ProgressBar,
}

impl Default for Screen {
    fn default() -> Self {
        Self::new()
    }
}

impl Screen {
    /// A screen whose time begins now.
    #[must_use]
    pub fn new() -> Self {
        let bar = if std::io::stderr().is_terminal() { ProgressBar::new(0) } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} [{bar:24}] {pos}/{len} jobs") {
            bar.set_style(style.progress_chars("=> "));
        }
        Self { began: Instant::now(), bar }
    }

    /// One line: who, and what.
    pub fn say(&self, who: &str, what: &str) {
        let line = format!("{:6.1} s  {who:<9} {what}", self.began.elapsed().as_secs_f64());
        self.bar.suspend(|| eprintln!("{line}"));
    }

    /// Takes the bar away.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }

    fn progress(&self, look: &Look) {
        let (waiting, running) = look.waiting_and_running();
        let jobs = u64::try_from(look.jobs.len()).unwrap_or(0);
        self.bar.set_length(jobs);
        self.bar.set_position(jobs - u64::from(waiting + running));
        self.bar.set_message(format!("{} of {} instances in service", look.in_service(), look.desired));
        self.bar.tick();
    }
}

/// Looks at jobs and group, over and over.
pub struct Watching<'a> {
    /// The lab.
    pub lab: &'a Lab,
    /// Its CI.
    pub ci: &'a Ci,
    /// Its stack.
    pub stack: &'a Stack,
    /// Where to print.
    pub screen: &'a Screen,
    /// When the first job was queued.
    pub queued: Instant,
    /// For the chart.
    pub samples: Vec<Sample>,
    /// For the report.
    pub capacity: Vec<CapacityLine>,
    /// A step of desired capacity whose reason the scaler has not logged yet: its line above, and from where.
    pub unexplained: Option<(usize, u32)>,
}

impl Watching<'_> {
    /// Lets the scaler begin, and looks until every job has ended and the group is empty again.
    ///
    /// # Errors
    /// The CI does not answer, or it takes longer than any machine needs.
    pub async fn until_idle(&mut self) -> Result<()> {
        let mut before = self.see(&Look::default()).await?;
        // Nothing moves before the first look: the report begins with nothing.
        self.lab.schedules().release();
        loop {
            let after = self.see(&before).await?;
            if after.done() && after.desired == 0 && after.instances.is_empty() {
                return Ok(());
            }
            if self.queued.elapsed() > PATIENCE {
                bail!(
                    "the group did not return to zero in {} s: see the logs in {}",
                    PATIENCE.as_secs(),
                    self.lab.folder().display()
                );
            }
            before = after;
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Looks once more, tells what is new since `before`, and keeps it.
    async fn see(&mut self, before: &Look) -> Result<Look> {
        let after = self.look().await?;
        for event in between(before, &after) {
            self.screen.say(event.who, &event.what);
        }
        self.record(before, &after);
        self.screen.progress(&after);
        Ok(after)
    }

    async fn look(&self) -> Result<Look> {
        let group = self.group()?;
        let live = group.members.iter().filter(|m| m.lifecycle.word() != "Terminated");
        Ok(Look {
            jobs: ci::seen(&self.ci.builds().await?).into_iter().collect(),
            instances: live.map(|m| (m.id.clone(), m.lifecycle.word().to_owned())).collect(),
            desired: group.desired,
        })
    }

    fn group(&self) -> Result<Group> {
        let name = self.stack.output("AutoScalingGroupName")?;
        self.lab.groups().group(name).with_context(|| format!("group {name} is gone"))
    }

    fn record(&mut self, before: &Look, after: &Look) {
        self.explain();
        let t_s = self.queued.elapsed().as_secs_f64();
        let (waiting, running) = after.waiting_and_running();
        let (desired, in_service) = (after.desired, after.in_service());
        self.samples.push(Sample { t_s, waiting, running, desired, in_service });
        let reason = match () {
            () if self.capacity.is_empty() && desired == 0 => "nothing runs",
            () if desired != before.desired => "",
            () if in_service > before.in_service() => "an instance is ready",
            () if in_service < before.in_service() => "an instance leaves",
            () => return,
        };
        self.capacity.push(CapacityLine { t_s, desired, in_service, reason: reason.to_owned() });
        if reason.is_empty() {
            self.unexplained = Some((self.capacity.len() - 1, before.desired));
        }
    }

    /// Gives a step of desired capacity the scaler's own words, once they are in its decision log: the group moves
    /// before the line is written.
    fn explain(&mut self) {
        let Some((line, from)) = self.unexplained else { return };
        let to = self.capacity[line].desired;
        let records = self.lab.schedules().log_lines();
        let records =
            records.iter().rev().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let Some(record) = records.take(6).find(|record| record["from"] == from && record["to"] == to) else {
            return;
        };
        let reason = record["reason"].as_str().unwrap_or_default();
        let jobs =
            format!("{} jobs scheduled, {} running", record["jobs"]["scheduled"], record["jobs"]["running"]);
        self.screen.say("scaler", &format!("desired capacity {from} -> {to}: {reason} ({jobs})"));
        self.capacity[line].reason = reason.to_owned();
        self.unexplained = None;
    }
}
