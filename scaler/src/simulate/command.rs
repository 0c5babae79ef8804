//! `scaler simulate`: its options, and what it prints.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use jiff::Timestamp;

use super::bound::least_paid;
use super::chart;
use super::policies::{Choice, Wish};
use super::report::{PolicyReport, Report};
use super::sweep::{alternatives, on_all_cores, unbeaten};
use super::trace::{self, Millis, Trace};
use super::world::{Course, Machines, run};
use crate::config::duration;
use crate::decide::Policy;
use crate::ports::Problem;
use crate::settings;

/// Of more policies than these, a table and a picture show those that are worth a look.
const MOST_SHOWN: usize = 20;

/// Options of `scaler simulate`.
#[derive(Debug, Clone, Args)]
pub struct SimulateOptions {
    /// CSV: runnable_at,duration_s,queue,pipeline,build[,hinted_at,hinted_jobs]; `-` is standard input
    #[arg(long, value_name = "FILE")]
    trace: PathBuf,
    /// Read the jobs of this queue only
    #[arg(long)]
    queue: Option<String>,
    /// tidemark[:idle=40s,period=2s,buffer=0,floor=0,patience=2m,percent=110,most=1000,blind,settings,alarms], elastic-ci, alarms-2018, keda,
    /// ephemeral, idle-count; several times to compare, or with alternatives: tidemark:idle=30s|60s,floor=0|1
    /// [default: all of them]
    #[arg(long = "policy", value_name = "POLICY")]
    policies: Vec<String>,
    /// The settings document that `tidemark:settings` goes by
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// When the trace's second 0 is, for the periods of a settings document
    #[arg(long, value_name = "TIME", default_value = "1970-01-01T00:00:00Z")]
    starts: Timestamp,
    /// From a launch to agents that take jobs, on average; it varies by a quarter
    #[arg(long, default_value = "40s", value_parser = millis)]
    boot: Millis,
    /// Agents on each instance
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    agents: u32,
    /// The group's minimum
    #[arg(long, default_value_t = 0)]
    min: u32,
    /// The group's maximum
    #[arg(long, default_value_t = 2000)]
    max: u32,
    /// Spot interruptions of each instance in an hour
    #[arg(long, default_value_t = 0.0)]
    interruptions: f64,
    /// AWS has no capacity in this time of the trace, for instance 32400s-33000s
    #[arg(long, value_name = "FROM-UNTIL", value_parser = span)]
    capacity_errors: Option<(Millis, Millis)>,
    /// Courses for each policy: boots vary with the seed
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// Write a picture of the first seed's courses
    #[arg(long, value_name = "SVG")]
    plot: Option<PathBuf>,
    /// Print JSON in place of a table
    #[arg(long)]
    json: bool,
}

pub(super) fn millis(text: &str) -> Result<Millis, String> {
    let period = duration(text).and_then(|period| Millis::try_from(period.as_millis()).ok());
    period.ok_or_else(|| "give a duration like 40s".to_owned())
}

/// Two times of a trace; the first may be 0.
fn span(text: &str) -> Result<(Millis, Millis), String> {
    let time = |text: &str| if text == "0" { Ok(0) } else { millis(text) };
    let (from, until) = text.split_once('-').unwrap_or((text, ""));
    match (time(from), time(until)) {
        (Ok(from), Ok(until)) if from < until => Ok((from, until)),
        _ => Err("give two times, the earlier first, like 60s-10m".to_owned()),
    }
}

/// Simulates, and prints what came of it.
///
/// # Errors
/// A trace or a policy that cannot be read (exit 78), a file that cannot be opened or written.
pub fn simulate(options: &SimulateOptions) -> Result<(), Problem> {
    let (names, choices) = choices(&options.policies)?;
    let document = document(options, choices.iter().any(Choice::is_by_document))?;
    let trace = read(&options.trace, options.queue.as_deref())?;
    let (trace, midnight) = trace.since_midnight();
    let document = document.map(|wish| wish.later(midnight));
    let (short_from, short_until) = options.capacity_errors.unwrap_or_default();
    let (short_from, short_until) = (short_from - midnight, short_until - midnight);
    let machines = Machines {
        agents: options.agents,
        min: options.min,
        max: options.max,
        interruptions: options.interruptions,
        short_from,
        short_until,
        ..Machines::booting_in(options.boot)
    };
    let course = |policy: usize, seed: u64, line: bool| -> Course {
        run(&trace, machines, choices[policy].start(&machines, document.as_ref()).as_mut(), seed, line)
    };
    let policies = on_all_cores(choices.len(), |policy| {
        let courses = (1..=options.seeds).map(|seed| course(policy, seed, false)).collect();
        PolicyReport::of(&names[policy], &trace, courses)
    });
    let shown = if policies.len() > MOST_SHOWN { unbeaten(&policies) } else { (0..policies.len()).collect() };
    let report = Report {
        policies,
        bound: as_float(least_paid(&trace, options.boot)) / as_float(trace.busy().max(1)),
        jobs: trace.jobs.len(),
        busy_hours: as_float(trace.busy()) / 3_600_000.0,
    };
    let boot = as_float(options.boot) / 1000.0;
    let told = report.of(&shown);
    if let Some(file) = &options.plot {
        let title = format!("Policies over {}: instances boot in {boot} s", options.trace.display());
        let drawn: Vec<Course> = shown.iter().map(|policy| course(*policy, 1, true)).collect();
        std::fs::write(file, chart::draw(&title, &told, &drawn)).map_err(|e| of_file("write", file, &e))?;
    }
    let text = if options.json {
        format!("{:#}\n", report.json())
    } else {
        format!(
            "{} jobs, {:.0} busy hours; instances boot in {boot} s; medians of {} seeds\n{}\n{}",
            report.jobs,
            report.busy_hours,
            options.seeds,
            if shown.len() < choices.len() {
                format!("of {} policies those that none beats in both p95 and cost\n", choices.len())
            } else {
                String::new()
            },
            told.table()
        )
    };
    io::stdout().write_all(text.as_bytes()).map_err(|e| of_file("write", Path::new("standard output"), &e))
}

/// All policies that are asked for, or everything that is wrong with them.
fn choices(asked: &[String]) -> Result<(Vec<String>, Vec<Choice>), Problem> {
    let all = ["tidemark", "elastic-ci", "alarms-2018", "keda", "ephemeral", "idle-count"].map(str::to_owned);
    let asked = if asked.is_empty() { all.as_slice() } else { asked };
    let (mut names, mut choices, mut faults) = (Vec::new(), Vec::new(), Vec::new());
    for text in asked {
        match alternatives(text) {
            Ok(policies) => names.extend(policies),
            Err(fault) => faults.push(format!("--policy {text}: {fault}")),
        }
    }
    for name in &names {
        match name.parse() {
            Ok(choice) => choices.push(choice),
            Err(fault) => faults.push(format!("--policy {name}: {fault}")),
        }
    }
    if faults.is_empty() { Ok((names, choices)) } else { Err(Problem::new(78, faults.join("\n"))) }
}

/// What the settings document wants of the queue that is simulated.
fn document(options: &SimulateOptions, is_asked: bool) -> Result<Option<Wish>, Problem> {
    let fault = |fault: String| Problem::new(78, fault);
    let file = match (&options.settings, is_asked) {
        (None, false) => return Ok(None),
        (Some(file), true) => file,
        (None, true) => {
            return Err(fault("--policy tidemark:settings: give the document as --settings".to_owned()));
        }
        (Some(_), false) => {
            return Err(fault("--settings: give --policy tidemark:settings, which goes by it".to_owned()));
        }
    };
    let text = std::fs::read_to_string(file).map_err(|e| of_file("read", file, &e))?;
    let (document, faults) = settings::read(&text);
    if !faults.is_empty() {
        return Err(fault(faults.join("\n")));
    }
    let is_asked = |queue: &settings::QueueSettings| match (&options.queue, &queue.queue) {
        (Some(asked), Some(queue)) => asked == queue,
        _ => true,
    };
    let mut queues = document.queues.into_iter().filter(is_asked);
    let (Some(queue), None) = (queues.next(), queues.next()) else {
        return Err(fault(format!("{}: name one of its queues as --queue", file.display())));
    };
    if let Some(agents) = queue.agents_per_instance.filter(|agents| *agents != options.agents) {
        return Err(fault(format!(
            "settings: {}agents-per-instance is {agents}: give --agents {agents}",
            queue.path
        )));
    }
    let of_need = Policy::of_need(options.agents);
    let policy = Policy {
        instance_buffer: queue.instance_buffer.unwrap_or(0),
        idle_instances: queue.idle_instances.unwrap_or(0),
        min_instances: queue.min_instances.unwrap_or(0),
        scale_in: queue.scale_in.unwrap_or(true),
        scale_out: queue.scale_out.unwrap_or(true),
        ..of_need
    };
    let most = queue.max_instances.unwrap_or(u32::MAX);
    Ok(Some(Wish { policy, most, schedule: queue.schedule, begins: options.starts }))
}

fn read(file: &Path, queue: Option<&str>) -> Result<Trace, Problem> {
    let read = if file == Path::new("-") {
        trace::read::read(io::stdin().lock(), queue)
    } else {
        let open = File::open(file).map_err(|e| of_file("open", file, &e))?;
        trace::read::read(io::BufReader::new(open), queue)
    };
    read.map_err(|faults| Problem::new(78, format!("trace {}:\n{faults}", file.display())))
}

pub(super) fn of_file(step: &str, file: &Path, error: &io::Error) -> Problem {
    Problem::new(1, format!("{step} {}: {error}", file.display()))
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of years are far below 2^53")]
fn as_float(millis: Millis) -> f64 {
    millis as f64
}
