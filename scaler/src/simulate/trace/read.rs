//! A trace from CSV. Every fault is told, with its line.

use std::collections::HashMap;
use std::io::Read;

use csv::StringRecord;

use super::{Hint, Job, Millis, Trace};
use crate::config::Faults;

/// The columns that every trace has, in any order.
const COLUMNS: [&str; 5] = ["runnable_at", "duration_s", "queue", "pipeline", "build"];
/// The columns that announce a build.
const HINT: [&str; 2] = ["hinted_at", "hinted_jobs"];
/// More faults than these help nobody.
const MOST_FAULTS: usize = 20;
/// Times beyond a century are a mistake, and would overflow what is counted in milliseconds.
const LATEST_S: f64 = 100.0 * 366.0 * 86_400.0;

/// Reads a trace; of several queues, all jobs are read (`queue` `None`) or those of one.
///
/// # Errors
/// Up to twenty lines `line N: …`, and nothing is read.
pub fn read(csv: impl Read, queue: Option<&str>) -> Result<Trace, Faults> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).flexible(true).from_reader(csv);
    let header = reader.headers().map_err(|e| Faults(vec![format!("line 1: {e}")]))?.clone();
    let columns = Columns::of(&header)?;
    let mut builds = Builds::default();
    let mut faults = Vec::new();
    for record in reader.records() {
        match record {
            Ok(record) => {
                let line = record.position().map_or(0, csv::Position::line);
                match columns.row(&record) {
                    Ok(row) if queue.is_none_or(|queue| queue == row.queue) => builds.take(line, row),
                    Ok(_) => {}
                    Err(fault) => faults.push(format!("line {line}: {fault}")),
                }
            }
            Err(error) => {
                faults.push(format!("line {}: {error}", error.position().map_or(0, csv::Position::line)))
            }
        }
    }
    if faults.is_empty() {
        faults.extend(builds.unsorted());
    }
    if faults.is_empty() && builds.jobs.is_empty() {
        faults.push(match queue {
            Some(queue) => format!("the trace has no job of queue {queue}"),
            None => "the trace has no job".to_owned(),
        });
    }
    if faults.len() > MOST_FAULTS {
        let more = faults.len() - MOST_FAULTS;
        faults.truncate(MOST_FAULTS);
        faults.push(format!("and {more} more"));
    }
    if faults.is_empty() { Ok(builds.trace()) } else { Err(Faults(faults)) }
}

/// Where each column stands.
struct Columns {
    of_job: [usize; COLUMNS.len()],
    of_hint: Option<[usize; HINT.len()]>,
    count: usize,
}

struct Row {
    queue: String,
    build: String,
    job: Option<Job>,
    hint: Option<Hint>,
}

impl Columns {
    fn of(header: &StringRecord) -> Result<Self, Faults> {
        let place = |name: &str| header.iter().position(|column| column == name);
        let mut faults = Vec::new();
        let of_job = COLUMNS.map(|name| {
            place(name).unwrap_or_else(|| {
                faults.push(format!(
                    "line 1: no column {name}: the header is {},[{}]",
                    COLUMNS.join(","),
                    HINT.join(",")
                ));
                0
            })
        });
        let of_hint = HINT.map(place);
        let of_hint = match of_hint {
            [Some(at), Some(jobs)] => Some([at, jobs]),
            [None, None] => None,
            _ => {
                faults.push("line 1: hinted_at and hinted_jobs come together".to_owned());
                None
            }
        };
        if let Some(unknown) = header.iter().find(|name| !COLUMNS.contains(name) && !HINT.contains(name)) {
            faults.push(format!("line 1: `{unknown}` is no column of a trace"));
        }
        let twice = |name: &&str| header.iter().filter(|column| column == name).count() > 1;
        if let Some(name) = COLUMNS.iter().chain(&HINT).find(|name| twice(name)) {
            faults.push(format!("line 1: two columns are {name}"));
        }
        let count = header.len();
        if faults.is_empty() { Ok(Self { of_job, of_hint, count }) } else { Err(Faults(faults)) }
    }

    /// A row whose times of a job are both empty is an announcement alone, of a build that never came.
    fn row(&self, record: &StringRecord) -> Result<Row, String> {
        if record.len() != self.count {
            return Err(format!("has {} fields, and the header {}", record.len(), self.count));
        }
        let field = |place: usize| record.get(place).unwrap_or("");
        let [runnable_at, duration, queue, pipeline, build] = self.of_job.map(field);
        for (name, text) in [("queue", queue), ("pipeline", pipeline), ("build", build)] {
            if text.is_empty() {
                return Err(format!("{name} is empty"));
            }
        }
        let hint = self
            .of_hint
            .map(|places| places.map(field))
            .filter(|fields| fields.iter().any(|f| !f.is_empty()));
        let hint = hint.map(|[at, jobs]| {
            let at = seconds("hinted_at", at)?;
            let jobs = jobs.parse::<f64>().ok().filter(|n| (0.0..=1e6).contains(n));
            // An estimate may be a fraction.
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within 0..=10^6")]
            let jobs = jobs.map(|n| n.round() as u32);
            Ok::<_, String>(Hint { at, jobs: jobs.ok_or("hinted_jobs: give a number of at most a million")? })
        });
        let hint = hint.transpose()?;
        let job = if hint.is_some() && runnable_at.is_empty() && duration.is_empty() {
            None
        } else {
            let runnable_at = seconds("runnable_at", runnable_at)?;
            Some(Job { runnable_at, duration: seconds("duration_s", duration)? })
        };
        if let (Some(job), Some(hint)) = (job, hint)
            && hint.at > job.runnable_at
        {
            return Err("hinted_at is later than runnable_at".to_owned());
        }
        Ok(Row { queue: queue.to_owned(), build: build.to_owned(), job, hint })
    }
}

fn seconds(name: &str, text: &str) -> Result<Millis, String> {
    if text.is_empty() {
        return Err(format!("{name} is empty"));
    }
    let number: f64 = text.parse().map_err(|_| format!("{name} is `{text}`: give seconds"))?;
    if number < 0.0 {
        return Err(format!("{name} is negative: {text}"));
    }
    if number.is_nan() || number > LATEST_S {
        return Err(format!("{name} is `{text}`: give seconds, at most those of a century"));
    }
    #[expect(clippy::cast_possible_truncation, reason = "within a century")]
    Ok((number * 1000.0).round() as Millis)
}

/// What is known of the builds while rows come in.
#[derive(Default)]
struct Builds {
    jobs: Vec<Job>,
    /// In the order of their first rows.
    seen: Vec<Build>,
    by_name: HashMap<String, usize>,
}

struct Build {
    line: u64,
    begins: Option<Millis>,
    hint: Option<Hint>,
}

impl Builds {
    fn take(&mut self, line: u64, row: Row) {
        let next = self.seen.len();
        let place = *self.by_name.entry(row.build).or_insert(next);
        if place == next {
            self.seen.push(Build { line, begins: None, hint: None });
        }
        let build = &mut self.seen[place];
        if let Some(job) = row.job {
            build.begins = Some(build.begins.map_or(job.runnable_at, |begins| begins.min(job.runnable_at)));
            self.jobs.push(job);
        }
        // A build is announced once: by its earliest hint.
        if let Some(hint) = row.hint
            && build.hint.is_none_or(|known| hint.at < known.at)
        {
            build.hint = Some(hint);
        }
    }

    /// Builds come in order of time, whether that of their first jobs or that of their announcements; else rows were
    /// lost or mixed up, and the trace is not what its maker thinks.
    fn unsorted(&self) -> Vec<String> {
        let begins = |build: &Build| build.begins.or(build.hint.map(|h| h.at)).unwrap_or(0);
        let hinted = |build: &Build| build.hint.map_or(begins(build), |hint| hint.at);
        let disorder = |key: &dyn Fn(&Build) -> Millis| -> Vec<u64> {
            self.seen
                .windows(2)
                .filter(|pair| key(&pair[1]) < key(&pair[0]))
                .map(|pair| pair[1].line)
                .collect()
        };
        let by_begin = disorder(&begins);
        if by_begin.is_empty() || disorder(&hinted).is_empty() {
            return Vec::new();
        }
        by_begin
            .into_iter()
            .map(|line| {
                format!("line {line}: its build begins before the build above it: sort builds by time")
            })
            .collect()
    }

    fn trace(self) -> Trace {
        Trace::new(self.jobs, self.seen.into_iter().filter_map(|build| build.hint).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::generate::{Hints, Shape, Week};
    use crate::simulate::trace::Build;
    use crate::simulate::trace::write::{rows, write};

    const HEADER: &str = "runnable_at,duration_s,queue,pipeline,build,hinted_at,hinted_jobs";

    fn of(rows: &str) -> Result<Trace, Faults> {
        read(format!("{HEADER}\n{rows}").as_bytes(), None)
    }

    fn faults(csv: &str) -> Vec<String> {
        read(csv.as_bytes(), None).unwrap_err().0
    }

    #[test]
    fn a_build_is_announced_once_by_its_earliest_hint() {
        let trace = of("50,10,q,p,1,5,3\n45.5,0.25,q,p,1,4,2\n60,1,q,p,2,,\n").unwrap();
        let jobs = [(45_500, 250), (50_000, 10_000), (60_000, 1000)];
        assert_eq!(trace.jobs, jobs.map(|(runnable_at, duration)| Job { runnable_at, duration }));
        assert_eq!(trace.hints, [Hint { at: 4000, jobs: 2 }]);
    }

    #[test]
    fn columns_may_stand_in_any_order_and_hints_may_be_absent() {
        let trace =
            read("build,queue,pipeline,duration_s,runnable_at\n1,q,p,2,1\n".as_bytes(), None).unwrap();
        assert_eq!(trace.jobs, [Job { runnable_at: 1000, duration: 2000 }]);
    }

    #[test]
    fn one_queue_of_several() {
        let csv = "runnable_at,duration_s,queue,pipeline,build\n1,2,a,p,1\n3,4,b,p,2\n";
        assert_eq!(
            read(csv.as_bytes(), Some("b")).unwrap().jobs,
            [Job { runnable_at: 3000, duration: 4000 }]
        );
        assert_eq!(read(csv.as_bytes(), Some("c")).unwrap_err().0, ["the trace has no job of queue c"]);
    }

    #[test]
    fn every_fault_is_told_with_its_line() {
        let told = faults(&format!(
            "{HEADER}\n1,2,q,p,1,,\n,2,q,p,2,,\n3,-4,q,p,3,,\nsoon,2,q,p,4,,\n5,2,,p,5,,\n6,2,q,p,6,7,3\n7,2,q,p,7,1,many\n\
             8,2,q,p,8,3\nNaN,1,q,p,9,,\n1e300,1,q,p,10,,\n"
        ));
        insta::assert_snapshot!(told.join("\n"), @r"
        line 3: runnable_at is empty
        line 4: duration_s is negative: -4
        line 5: runnable_at is `soon`: give seconds
        line 6: queue is empty
        line 7: hinted_at is later than runnable_at
        line 8: hinted_jobs: give a number of at most a million
        line 9: has 6 fields, and the header 7
        line 10: runnable_at is `NaN`: give seconds, at most those of a century
        line 11: runnable_at is `1e300`: give seconds, at most those of a century
        ");
    }

    #[test]
    fn builds_come_in_order_of_time_their_rows_in_any() {
        assert!(of("9,1,q,p,1,,\n5,1,q,p,1,,\n7,1,q,p,2,,\n").is_ok(), "build 1 begins at 5");
        assert!(of("90,1,q,p,1,3,1\n80,1,q,p,2,4,1\n").is_ok(), "by announcement");
        let told = of("9,1,q,p,1,,\n7,1,q,p,2,,\n").unwrap_err().0;
        assert_eq!(told, ["line 3: its build begins before the build above it: sort builds by time"]);
    }

    #[test]
    fn a_header_that_is_none_and_a_trace_without_jobs() {
        assert_eq!(faults("a,b\n1,2\n").len(), 6, "five columns lack, one is unknown");
        assert_eq!(
            faults(&HEADER.replace(",hinted_jobs", "")),
            ["line 1: hinted_at and hinted_jobs come together"]
        );
        assert_eq!(faults(&HEADER.replace("build", "queue")).len(), 2, "no build, and queue twice");
        assert_eq!(faults(HEADER), ["the trace has no job"]);
        assert_eq!(faults("").len(), 5);
        let many = (0..50).map(|n| format!("{n},x,q,p,{n},,\n")).collect::<String>();
        let told = of(&many).unwrap_err().0;
        assert_eq!((told.len(), told.last().unwrap().as_str()), (21, "and 30 more"));
    }

    fn again(builds: &[Build]) -> Trace {
        let mut csv = Vec::new();
        write(&mut csv, rows("default", builds)).unwrap();
        read(csv.as_slice(), None).unwrap_or_else(|faults| panic!("{faults}"))
    }

    #[test]
    fn what_is_made_can_be_read_again() {
        let hints = Some(Hints { lead: 45_000, error: 0.4, missed: 0.3, ghosts: 0.3 });
        let week = Week { hints, ..Week::default() }.builds(7);
        assert!(week.iter().any(|build| build.jobs.is_empty()), "ghosts are in it");
        assert_eq!(again(&week), Trace::of(&week));
        for shape in [Shape::Burst, Shape::Hourly, Shape::FanOut, Shape::Sawtooth] {
            let builds = shape.builds(40_000);
            assert_eq!(again(&builds), Trace::of(&builds), "{shape:?}");
        }
    }
}
