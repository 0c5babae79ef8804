//! Minutes of the week, the month or the year, in cron's five fields. Pure.
//!
//! Five fields of numbers are less than a crate for them would be, which brings a second library for dates along; and
//! no crate tells whether two expressions ever hold at once.

use std::str::FromStr;

use jiff::civil::{Date, DateTime, date};

/// What a field counts: its name in faults, its least and its greatest number, and words for numbers.
struct Field {
    name: &'static str,
    least: u32,
    most: u32,
    words: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field { name: "minute", least: 0, most: 59, words: &[] },
    Field { name: "hour", least: 0, most: 23, words: &[] },
    Field { name: "day of the month", least: 1, most: 31, words: &[] },
    Field {
        name: "month",
        least: 1,
        most: 12,
        words: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
    },
    // Sunday is 0, and 7 too.
    Field {
        name: "day of the week",
        least: 0,
        most: 7,
        words: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
    },
];

/// In so many years every day of every month falls on every day of the week.
const YEARS: std::ops::RangeInclusive<i16> = 2001..=2028;

/// The minutes that an expression names; a bit for each number of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    text: String,
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Both days are restricted: either of them is enough, as cron has always had it.
    either_day: bool,
}

impl Cron {
    /// The expression, as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Is this minute one of them?
    #[must_use]
    pub fn matches(&self, at: DateTime) -> bool {
        has(self.minutes, at.minute()) && has(self.hours, at.hour()) && self.falls_on(at.date())
    }

    fn falls_on(&self, date: Date) -> bool {
        let day = has(self.days, date.day());
        let weekday = has(self.weekdays, date.weekday().to_sunday_zero_offset());
        let days = if self.either_day { day || weekday } else { day && weekday };
        has(self.months, date.month()) && days
    }

    /// Is there a day on which it holds? The 30th of February is none.
    #[must_use]
    pub fn ever_holds(&self) -> bool {
        self.overlaps(self)
    }

    /// Is there a minute that both name? All dates that differ are looked at, by the same clock on the wall for both, so
    /// that the answer is exact, and the same whatever a time zone does with its clocks.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let both = |one: u64, another: u64| one & another != 0;
        if !both(self.minutes, other.minutes)
            || !both(self.hours, other.hours)
            || !both(self.months, other.months)
        {
            return false;
        }
        if self.is_weekly() && other.is_weekly() {
            // Every month has every day of the week.
            return both(self.weekdays, other.weekdays);
        }
        let first = date(*YEARS.start(), 1, 1);
        first
            .series(jiff::Span::new().days(1))
            .take_while(|date| date.year() <= *YEARS.end())
            .any(|date| self.falls_on(date) && other.falls_on(date))
    }

    fn is_weekly(&self) -> bool {
        !self.either_day && self.days == all(&FIELDS[2])
    }
}

fn has(bits: u64, number: i8) -> bool {
    u32::try_from(number).is_ok_and(|number| bits & (1 << number) != 0)
}

fn all(field: &Field) -> u64 {
    (field.least..=field.most).fold(0, |bits, number| bits | 1 << number)
}

impl FromStr for Cron {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields[..] else {
            return Err(format!(
                "it has {} fields: give minute, hour, day of the month, month and day of the week",
                fields.len()
            ));
        };
        let mut weekday_bits = bits(weekdays, &FIELDS[4])?;
        if weekday_bits & (1 << 7) != 0 {
            weekday_bits = (weekday_bits | 1) & !(1 << 7);
        }
        Ok(Self {
            text: fields.join(" "),
            minutes: bits(minutes, &FIELDS[0])?,
            hours: bits(hours, &FIELDS[1])?,
            days: bits(days, &FIELDS[2])?,
            months: bits(months, &FIELDS[3])?,
            weekdays: weekday_bits,
            either_day: !days.starts_with('*') && !weekdays.starts_with('*'),
        })
    }
}

/// `*`, `5`, `1-5`, `*/15`, `8-18/2`, `mon-fri`, and several of them with commas.
fn bits(text: &str, field: &Field) -> Result<u64, String> {
    let mut bits = 0;
    for part in text.split(',') {
        let (range, step) = part.split_once('/').map_or((part, None), |(range, step)| (range, Some(step)));
        let step = match step {
            None => 1,
            Some(step) => step.parse().ok().filter(|step| *step >= 1).ok_or_else(|| {
                format!("`{part}` of the {} has no step of at least 1 after its slash", field.name)
            })?,
        };
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (field.least, field.most),
            Some((first, last)) => (number(first, field)?, number(last, field)?),
            None => {
                let first = number(range, field)?;
                // `5/15` goes on to the end, as cron has it.
                (first, if part.contains('/') { field.most } else { first })
            }
        };
        if first > last {
            return Err(format!("`{part}` of the {} ends before it begins: give two ranges", field.name));
        }
        for number in (first..=last).step_by(step) {
            bits |= 1 << number;
        }
    }
    Ok(bits)
}

fn number(text: &str, field: &Field) -> Result<u32, String> {
    let lower = text.to_ascii_lowercase();
    let word = field.words.iter().position(|word| *word == lower);
    let word = word.and_then(|place| u32::try_from(place).ok()).map(|place| {
        // Months are counted from 1.
        if field.least == 1 { place + 1 } else { place }
    });
    let number = word.or_else(|| text.parse().ok());
    number.filter(|number| (field.least..=field.most).contains(number)).ok_or_else(|| {
        format!("`{text}` is no {}: give numbers from {} to {}", field.name, field.least, field.most)
    })
}

#[cfg(test)]
mod tests;
