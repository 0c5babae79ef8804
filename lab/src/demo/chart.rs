//! `timeline.svg`: jobs waiting and running above, desired and in-service capacity below, over one axis of time.

use std::fmt::Write as _;

/// What was seen at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Seconds since the first job was queued.
    pub t_s: f64,
    /// Jobs without an agent.
    pub waiting: u32,
    /// Jobs with one.
    pub running: u32,
    /// Desired capacity.
    pub desired: u32,
    /// Instances in service.
    pub in_service: u32,
}

const WIDTH: f64 = 900.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 120.0;
const PANEL: f64 = 150.0;
const TOPS: [f64; 2] = [84.0, 284.0];
const HEIGHT: f64 = 490.0;

const WAITING: &str = "#d97706";
const RUNNING: &str = "#2563eb";
const DESIRED: &str = "#64748b";
const IN_SERVICE: &str = "#059669";

/// Axis of one panel: time to x, number to y.
struct Scale {
    end: f64,
    top: f64,
    most: f64,
}

impl Scale {
    fn x(&self, t: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * t / self.end
    }

    fn y(&self, n: f64) -> f64 {
        self.top + PANEL * (1.0 - n / self.most)
    }

    /// A line of steps: a number holds until the next sample.
    fn steps(&self, samples: &[Sample], value: impl Fn(&Sample) -> u32) -> String {
        let mut path = String::new();
        let mut last = None;
        for sample in samples {
            let (x, y) = (self.x(sample.t_s), self.y(f64::from(value(sample))));
            match last {
                None => drop(write!(path, "M{x:.1},{y:.1}")),
                Some(before) if before == y => {}
                Some(_) => drop(write!(path, "H{x:.1}V{y:.1}")),
            }
            last = Some(y);
        }
        if let Some(sample) = samples.last() {
            let _ = write!(path, "H{:.1}", self.x(sample.t_s));
        }
        path
    }

    fn area(&self, line: &str) -> String {
        format!("{line}V{:.1}H{:.1}Z", self.y(0.0), self.x(0.0))
    }
}

/// Round distance between marks, about six of them.
fn spacing(end: f64, marks: f64) -> f64 {
    let rough = end / marks;
    let magnitude = 10f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0].into_iter().find(|f| f * magnitude >= rough).unwrap_or(10.0);
    (factor * magnitude).max(1.0)
}

fn frame(svg: &mut String, scale: &Scale, title: &str) {
    let (left, right) = (scale.x(0.0), scale.x(scale.end));
    let _ = write!(svg, r#"<text x="{left}" y="{:.1}" class="title">{title}</text>"#, scale.top - 14.0);
    let step = spacing(scale.most, 4.0);
    let mut n = 0.0;
    while n <= scale.most {
        let y = scale.y(n);
        let _ = write!(
            svg,
            r#"<line x1="{left}" y1="{y:.1}" x2="{right:.1}" y2="{y:.1}" class="grid"/><text x="{:.1}" y="{:.1}" class="tick" text-anchor="end">{n}</text>"#,
            left - 8.0,
            y + 4.0
        );
        n += step;
    }
}

fn legend(svg: &mut String, top: f64, entries: [(&str, &str); 2]) {
    for (row, (colour, label)) in (0u8..).zip(entries) {
        let y = top + 14.0 + 22.0 * f64::from(row);
        let x = WIDTH - RIGHT + 16.0;
        let _ = write!(
            svg,
            r#"<rect x="{x}" y="{:.1}" width="12" height="12" rx="2" fill="{colour}"/><text x="{}" y="{:.1}" class="tick">{label}</text>"#,
            y - 10.0,
            x + 18.0,
            y
        );
    }
}

/// A line of the chart: where it lies, what it shows, its colour, and how much of it fills the area below.
type Series<'a> = (&'a Scale, fn(&Sample) -> u32, &'a str, &'a str);

/// Draws the samples; `title` is the demo's summary.
#[must_use]
pub fn draw(title: &str, samples: &[Sample]) -> String {
    let end = samples.last().map_or(1.0, |s| s.t_s).max(1.0);
    let most = |value: fn(&Sample) -> u32| f64::from(samples.iter().map(value).max().unwrap_or(0).max(1));
    let jobs = Scale { end, top: TOPS[0], most: most(|s| s.waiting.max(s.running)) };
    let group = Scale { end, top: TOPS[1], most: most(|s| s.desired.max(s.in_service)) };
    let mut svg = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" font-family="system-ui,sans-serif"><style>.title{{font-size:14px;font-weight:600;fill:#0f172a}}.tick{{font-size:12px;fill:#475569}}.grid{{stroke:#e2e8f0}}.line{{fill:none;stroke-width:2}}</style><rect width="100%" height="100%" fill="white"/><text x="{LEFT}" y="28" class="title">{}</text>"#,
        escape(title)
    );
    frame(&mut svg, &jobs, "jobs");
    frame(&mut svg, &group, "instances");
    let series: [Series<'_>; 4] = [
        (&jobs, |s| s.waiting, WAITING, "0.15"),
        (&jobs, |s| s.running, RUNNING, "0.15"),
        (&group, |s| s.in_service, IN_SERVICE, "0.15"),
        (&group, |s| s.desired, DESIRED, "0"),
    ];
    for (scale, value, colour, fill) in series {
        let line = scale.steps(samples, value);
        let _ = write!(
            svg,
            r#"<path d="{}" fill="{colour}" fill-opacity="{fill}"/><path d="{line}" class="line" stroke="{colour}"/>"#,
            scale.area(&line)
        );
    }
    legend(&mut svg, TOPS[0], [(WAITING, "waiting"), (RUNNING, "running")]);
    legend(&mut svg, TOPS[1], [(DESIRED, "desired"), (IN_SERVICE, "in service")]);
    let step = spacing(end, 8.0);
    let mut t = 0.0;
    while t <= end {
        let _ = write!(
            svg,
            r#"<text x="{:.1}" y="{:.1}" class="tick" text-anchor="middle">{t} s</text>"#,
            group.x(t),
            TOPS[1] + PANEL + 22.0
        );
        t += step;
    }
    svg.push_str("</svg>\n");
    svg
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(t_s: f64, waiting: u32, running: u32, desired: u32, in_service: u32) -> Sample {
        Sample { t_s, waiting, running, desired, in_service }
    }

    #[test]
    fn marks_are_round_numbers() {
        for (end, marks, expected) in [(48.0, 8.0, 10.0), (3.0, 4.0, 1.0), (8.0, 4.0, 2.0), (0.5, 8.0, 1.0)] {
            assert_eq!(spacing(end, marks), expected, "{end}");
        }
    }

    #[test]
    fn a_number_holds_until_the_next_change() {
        let scale = Scale { end: 10.0, top: 0.0, most: 2.0 };
        let samples = [sample(0.0, 0, 0, 0, 0), sample(5.0, 2, 0, 0, 0), sample(10.0, 2, 0, 0, 0)];
        assert_eq!(scale.steps(&samples, |s| s.waiting), "M56.0,150.0H418.0V0.0H780.0");
    }

    #[test]
    fn an_empty_timeline_is_still_a_picture() {
        assert!(draw("nothing & <nobody>", &[]).contains("nothing &amp; &lt;nobody&gt;"));
    }
}
