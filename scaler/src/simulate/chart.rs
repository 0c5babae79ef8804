//! A picture of a simulation: for each policy, jobs and instances over time; on the right, what it comes to.

use std::fmt::Write as _;

use super::report::{PolicyReport, Report};
use super::trace::Millis;
use super::world::{Course, Point};

const WIDTH: f64 = 1120.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 276.0;
const HEAD: f64 = 74.0;
const PANEL: f64 = 104.0;
const GAP: f64 = 44.0;
const FOOT: f64 = 42.0;

const INSTANCES: &str = "#94a3b8";
const RUNNING: &str = "#2563eb";
const WAITING: &str = "#d97706";

/// Letters of a policy's name that fit beside its panel.
const LINE: usize = 30;

/// Columns of pixels: finer detail would not be seen, and a week has many changes.
const COLUMNS: usize = 790;

/// Draws one panel for each policy; `courses` as in the report, with their lines.
#[must_use]
pub fn draw(title: &str, report: &Report, courses: &[Course]) -> String {
    let end = courses
        .iter()
        .filter_map(|course| course.line.last())
        .map(|point| point.at)
        .max()
        .unwrap_or(1)
        .max(1);
    let begin = begin(courses, end);
    let highest = |point: &Point| point.instances.max(point.running).max(point.waiting);
    let most = courses.iter().flat_map(|course| course.line.iter().map(highest)).max().unwrap_or(1).max(1);
    let height = HEAD + (PANEL + GAP) * as_float(courses.len()) + FOOT - GAP + 18.0;
    let mut svg = head(title, report, height);
    for (row, (policy, course)) in report.policies.iter().zip(courses).enumerate() {
        let top = HEAD + (PANEL + GAP) * as_float(row);
        let panel = Panel { top, begin, end, most: f64::from(most) };
        panel.draw(&mut svg, &course.line);
        numbers(&mut svg, top, policy);
    }
    time_axis(&mut svg, begin, end, height - FOOT + 8.0);
    svg.push_str("</svg>\n");
    svg
}

fn head(title: &str, report: &Report, height: f64) -> String {
    let mut svg = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" font-family="system-ui,sans-serif"><style>.h{{font-size:17px;font-weight:600;fill:#0f172a}}.b{{font-size:13px;font-weight:600;fill:#0f172a}}.t{{font-size:12px;fill:#475569}}.g{{stroke:#e2e8f0}}</style><rect width="100%" height="100%" fill="white"/><text x="{LEFT}" y="28" class="h">{}</text><text x="{LEFT}" y="50" class="t">{} jobs, {:.0} busy hours; no wait at all costs {:.3} × busy at least</text>"#,
        escape(title),
        report.jobs,
        report.busy_hours,
        report.bound
    );
    let mut x = WIDTH - RIGHT - 330.0;
    for (colour, label) in
        [(INSTANCES, "instances paid"), (RUNNING, "jobs running"), (WAITING, "jobs waiting")]
    {
        let _ = write!(
            svg,
            r#"<rect x="{x}" y="40" width="12" height="12" rx="2" fill="{colour}"/><text x="{}" y="50" class="t">{label}</text>"#,
            x + 17.0
        );
        x += 114.0;
    }
    svg
}

/// Where the picture begins: at 0, unless nothing happens for more than a third of the time; then shortly before the first job.
fn begin(courses: &[Course], end: Millis) -> Millis {
    const MINUTE: Millis = 60_000;
    let happens = |point: &&Point| point.instances > 0 || point.waiting > 0;
    let first =
        courses.iter().filter_map(|course| course.line.iter().find(happens)).map(|point| point.at).min();
    let before = |first: Millis| (first - (end - first) / 20) / MINUTE * MINUTE;
    first.filter(|first| *first > end / 3).map_or(0, before)
}

struct Panel {
    top: f64,
    begin: Millis,
    end: Millis,
    most: f64,
}

impl Panel {
    fn y(&self, number: f64) -> f64 {
        self.top + PANEL * (1.0 - number / self.most)
    }

    fn draw(&self, svg: &mut String, line: &[Point]) {
        let right = WIDTH - RIGHT;
        let step = round_step(self.most / 4.0);
        let mut number = 0.0;
        while number <= self.most {
            let y = self.y(number);
            let _ = write!(
                svg,
                r#"<line x1="{LEFT}" y1="{y:.1}" x2="{right}" y2="{y:.1}" class="g"/><text x="{}" y="{:.1}" class="t" text-anchor="end">{number}</text>"#,
                LEFT - 8.0,
                y + 4.0
            );
            number += step;
        }
        let columns = columns(line, self.begin, self.end);
        // Back to front: what is paid contains what runs; what waits must never be hidden.
        for (colour, value) in [
            (INSTANCES, (|p| p.instances) as fn(&Point) -> u32),
            (RUNNING, |p| p.running),
            (WAITING, |p| p.waiting),
        ] {
            let _ = write!(
                svg,
                r#"<path d="{}" fill="{colour}" fill-opacity="0.85"/>"#,
                self.area(&columns, value)
            );
        }
    }

    fn area(&self, columns: &[Point], value: fn(&Point) -> u32) -> String {
        let width = (WIDTH - RIGHT - LEFT) / as_float(COLUMNS);
        let mut path = format!("M{LEFT},{:.1}", self.y(0.0));
        let mut last = 0;
        for (column, point) in columns.iter().enumerate() {
            let number = value(point);
            if number != last {
                let _ =
                    write!(path, "H{:.1}V{:.1}", LEFT + width * as_float(column), self.y(f64::from(number)));
                last = number;
            }
        }
        let _ = write!(path, "H{:.1}V{:.1}Z", WIDTH - RIGHT, self.y(0.0));
        path
    }
}

/// The highest numbers within each column of pixels: a short wait of many jobs must show.
fn columns(line: &[Point], begin: Millis, end: Millis) -> Vec<Point> {
    let count = i64::try_from(COLUMNS).unwrap_or(1);
    let mut points = line.iter().peekable();
    let mut last = Point { at: 0, waiting: 0, running: 0, instances: 0 };
    let mut columns = Vec::with_capacity(COLUMNS);
    for column in 1..=count {
        let until = begin + (end - begin) * column / count;
        let mut highest = last;
        while let Some(point) = points.next_if(|point| point.at <= until) {
            highest.waiting = highest.waiting.max(point.waiting);
            highest.running = highest.running.max(point.running);
            highest.instances = highest.instances.max(point.instances);
            last = *point;
        }
        columns.push(highest);
    }
    columns
}

fn numbers(svg: &mut String, top: f64, policy: &PolicyReport) {
    let x = WIDTH - RIGHT + 18.0;
    let median = |key| policy.number(key).map_or(0.0, |spread| spread.median);
    let mut y = top + 12.0;
    for part in parts(&policy.name) {
        let _ = write!(svg, r#"<text x="{x}" y="{y}" class="b">{}</text>"#, escape(&part));
        y += 17.0;
    }
    let lines = [
        format!(
            "wait p50 {:.0} s, p95 {:.0} s, p99 {:.0} s",
            median("wait_p50_s"),
            median("wait_p95_s"),
            median("wait_p99_s")
        ),
        format!("cost {:.3} × busy", median("cost_over_busy")),
        format!("{:.0} boots, {:.0} of them unused", median("boots"), median("overshoot")),
    ];
    for (row, line) in lines.iter().enumerate() {
        let _ =
            write!(svg, r#"<text x="{x}" y="{}" class="t">{line}</text>"#, y + 4.0 + 18.0 * as_float(row));
    }
}

/// A policy's name in lines that fit, broken between its settings.
fn parts(name: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    for piece in name.split_inclusive([',', ':']) {
        let last = parts.len() - 1;
        if parts[last].is_empty() || parts[last].len() + piece.len() <= LINE {
            parts[last].push_str(piece);
        } else {
            parts.push(piece.to_owned());
        }
    }
    parts
}

fn time_axis(svg: &mut String, begin: Millis, end: Millis, y: f64) {
    let steps = [60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800];
    let (begin, end) = (begin / 1000, end / 1000);
    let span = (end - begin).max(1);
    let step = steps.into_iter().find(|step| span / step <= 10).unwrap_or(604_800);
    let first = (begin + step - 1) / step * step;
    for at in (first..=end).step_by(usize::try_from(step).unwrap_or(1)) {
        let x = LEFT + (WIDTH - RIGHT - LEFT) * as_ratio(at - begin, span);
        let label = match at {
            0 => "0".to_owned(),
            _ if step % 86_400 == 0 => format!("{} d", at / 86_400),
            _ if begin > 0 => format!("{}:{:02}", at / 3600, at % 3600 / 60),
            _ if step % 3600 == 0 => format!("{} h", at / 3600),
            _ => format!("{} min", at / 60),
        };
        let _ = write!(svg, r#"<text x="{x:.1}" y="{y:.1}" class="t" text-anchor="middle">{label}</text>"#);
    }
}

fn round_step(rough: f64) -> f64 {
    let magnitude = 10f64.powf(rough.max(1.0).log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * magnitude)
        .find(|step| *step >= rough)
        .unwrap_or(rough)
        .max(1.0)
}

#[expect(clippy::cast_precision_loss, reason = "pixels and rows")]
fn as_float(number: usize) -> f64 {
    number as f64
}

#[expect(clippy::cast_precision_loss, reason = "seconds of a trace")]
fn as_ratio(part: i64, whole: i64) -> f64 {
    part as f64 / whole as f64
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_morning_without_jobs_is_not_drawn() {
        let point = |at: Millis, instances| Point { at: at * 60_000, waiting: 0, running: 0, instances };
        let of = |line: Vec<Point>, end: Millis| {
            begin(&[Course { line, ..Course::default() }], end * 60_000) / 60_000
        };
        assert_eq!(of(vec![point(0, 0), point(540, 1)], 640), 535);
        assert_eq!(of(vec![point(540, 1)], 545), 539);
        assert_eq!(of(vec![point(20, 1)], 560), 0);
        assert_eq!(of(Vec::new(), 1), 0);
    }

    #[test]
    fn a_long_name_is_broken_between_its_settings() {
        assert_eq!(parts("keda"), ["keda"]);
        assert_eq!(
            parts("tidemark:alarms,blind,idle=60s,floor=2,percent=120"),
            ["tidemark:alarms,blind,", "idle=60s,floor=2,percent=120"]
        );
        assert_eq!(parts("").len(), 1);
    }
}
