//! An alarm's state from its datapoints. Pure.
//!
//! After AWS's user guide of CloudWatch, "Evaluating an alarm" and "Configuring how CloudWatch alarms treat missing
//! data": more datapoints are looked at than have to breach; where enough of them are there, the newest of those decide and
//! missing ones do not matter; only where too few are there are missing ones replaced, as the alarm says.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// Datapoints that are looked at beyond the evaluation periods, as in the guide's example of five for three. How many
/// AWS looks at is not documented for other numbers.
const BEYOND: i32 = 2;

/// How the values of a period become its datapoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statistic {
    /// `Sum`
    Sum,
    /// `Average`
    Average,
    /// `Minimum`
    Minimum,
    /// `Maximum`
    Maximum,
    /// `SampleCount`
    SampleCount,
}

/// How a datapoint breaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `GreaterThanOrEqualToThreshold`
    AtLeast,
    /// `GreaterThanThreshold`
    Above,
    /// `LessThanOrEqualToThreshold`
    AtMost,
    /// `LessThanThreshold`
    Below,
}

/// What a missing datapoint counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// `missing`
    Missing,
    /// `ignore`
    Ignore,
    /// `breaching`
    Breaching,
    /// `notBreaching`
    NotBreaching,
}

/// An alarm's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// `OK`
    Ok,
    /// `ALARM`
    Alarm,
    /// `INSUFFICIENT_DATA`
    InsufficientData,
}

impl State {
    /// The API's word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Alarm => "ALARM",
            Self::InsufficientData => "INSUFFICIENT_DATA",
        }
    }
}

/// An alarm on one metric.
#[derive(Debug, Clone, PartialEq)]
pub struct Alarm {
    /// Its name.
    pub name: String,
    /// Of the metric.
    pub namespace: String,
    /// The metric's name.
    pub metric: String,
    /// The metric's dimensions, all of them.
    pub dimensions: Vec<(String, String)>,
    /// How values become a datapoint.
    pub statistic: Statistic,
    /// Of one datapoint.
    pub period: Duration,
    /// So many datapoints decide.
    pub periods: u16,
    /// So many of them have to breach.
    pub to_alarm: u16,
    /// Beyond what is breaching.
    pub threshold: f64,
    /// In which direction.
    pub comparison: Comparison,
    /// What missing ones count as.
    pub missing: Missing,
    /// ARNs of what is done in `ALARM`.
    pub actions: Vec<String>,
}

impl Alarm {
    /// How many datapoints are looked at.
    #[must_use]
    pub fn range(&self) -> i32 {
        i32::from(self.periods) + BEYOND
    }

    fn breaches(&self, value: f64) -> bool {
        match self.comparison {
            Comparison::AtLeast => value >= self.threshold,
            Comparison::Above => value > self.threshold,
            Comparison::AtMost => value <= self.threshold,
            Comparison::Below => value < self.threshold,
        }
    }
}

/// What was published within a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Published {
    /// When.
    pub at: Timestamp,
    /// The least value.
    pub minimum: f64,
    /// The greatest.
    pub maximum: f64,
    /// All together.
    pub sum: f64,
    /// How many.
    pub count: f64,
}

/// One datapoint for each of the last `range` periods, the newest last: that of the period that is not over yet.
#[must_use]
pub fn datapoints(
    published: &[Published],
    statistic: Statistic,
    period: SignedDuration,
    now: Timestamp,
    range: i32,
) -> Vec<Option<f64>> {
    let length = period.as_millis().max(1);
    let of = |at: Timestamp| i128::from(at.as_millisecond()).div_euclid(length);
    let newest = of(now);
    (0..i128::from(range))
        .rev()
        .map(|back| {
            let those = published.iter().filter(|one| of(one.at) == newest - back && one.at <= now);
            let those: Vec<&Published> = those.collect();
            let total = |value: fn(&Published) -> f64| those.iter().map(|one| value(one)).sum::<f64>();
            let (sum, count) = (total(|one| one.sum), total(|one| one.count));
            let value = match statistic {
                Statistic::Sum => sum,
                Statistic::SampleCount => count,
                Statistic::Average => sum / count,
                Statistic::Minimum => those.iter().map(|one| one.minimum).fold(f64::INFINITY, f64::min),
                Statistic::Maximum => those.iter().map(|one| one.maximum).fold(f64::NEG_INFINITY, f64::max),
            };
            (!those.is_empty()).then_some(value)
        })
        .collect()
}

/// What an evaluation came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluated {
    /// The state from now on.
    pub state: State,
    /// The newest datapoint that there is: what a policy acts on.
    pub newest: Option<f64>,
    /// For people.
    pub reason: String,
}

/// Evaluates an alarm that is in `state` now; the newest datapoint comes last.
#[must_use]
pub fn evaluate(alarm: &Alarm, state: State, points: &[Option<f64>]) -> Evaluated {
    let periods = usize::from(alarm.periods);
    let there: Vec<f64> = points.iter().rev().copied().flatten().take(periods).collect();
    let absent = periods - there.len();
    let breaching = there.iter().filter(|value| alarm.breaches(**value)).count();
    let (all, enough) = (there.len(), usize::from(alarm.to_alarm));
    let alarmed =
        |breaching: usize, enough: usize| if breaching >= enough { State::Alarm } else { State::Ok };
    let next = match alarm.missing {
        _ if absent == 0 => alarmed(breaching, enough),
        Missing::Breaching => alarmed(breaching + absent, enough),
        Missing::NotBreaching => alarmed(breaching, enough),
        Missing::Ignore if breaching >= enough => State::Alarm,
        // All that is there breaches, and is too little.
        Missing::Ignore if breaching == all => state,
        Missing::Ignore => State::Ok,
        Missing::Missing if all == 0 => State::InsufficientData,
        Missing::Missing => alarmed(breaching, enough.min(all)),
    };
    let values: Vec<String> = there.iter().map(ToString::to_string).collect();
    let reason = format!(
        "{breaching} of the last {periods} datapoints [{}] breach the threshold {} ({absent} missing)",
        values.join(", "),
        alarm.threshold
    );
    Evaluated { state: next, newest: there.first().copied(), reason }
}

#[cfg(test)]
mod tests;
