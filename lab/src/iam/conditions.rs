//! Conditions: operators, their `IfExists` and set forms, and what an absent key means.

use std::net::IpAddr;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::context::Context;
use super::pattern::{self, Syntax};

/// One condition: an operator over one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    set: Set,
    test: Test,
    negated: bool,
    if_exists: bool,
    key: String,
    values: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Set {
    None,
    AllValues,
    AnyValue,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Test {
    Text,
    TextNoCase,
    TextLike,
    Arn,
    Bool,
    Binary,
    Ip,
    Number(Order),
    Date(Order),
    Null,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Order {
    fn holds<T: PartialOrd>(self, left: T, right: T) -> bool {
        match self {
            Self::Equal => left == right,
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
        }
    }
}

impl Condition {
    /// Reads an operator's name (`ForAnyValue:StringLikeIfExists`); none when IAM knows no such operator.
    #[must_use]
    pub fn read(operator: &str, key: &str, values: Vec<String>) -> Option<Self> {
        let (set, rest) = match operator.split_once(':') {
            Some(("ForAllValues", rest)) => (Set::AllValues, rest),
            Some(("ForAnyValue", rest)) => (Set::AnyValue, rest),
            Some(_) => return None,
            None => (Set::None, operator),
        };
        let (name, if_exists) = match rest.strip_suffix("IfExists") {
            Some(name) => (name, true),
            None => (rest, false),
        };
        let (test, negated) = test(name)?;
        Some(Self { set, test, negated, if_exists, key: key.to_owned(), values })
    }

    /// Whether the request meets the condition; `variables` as the policy's version says.
    #[must_use]
    pub fn holds(&self, context: &Context, variables: bool) -> bool {
        let given = context.get(&self.key).filter(|values| !values.is_empty());
        if self.test == Test::Null {
            let absent = given.is_none().to_string();
            return self.values.iter().any(|value| value.eq_ignore_ascii_case(&absent));
        }
        let Some(given) = given else {
            return match self.set {
                Set::AllValues => true,
                Set::AnyValue => self.if_exists,
                Set::None => self.if_exists || self.negated,
            };
        };
        // A negated operator asks that none of the policy's values matches.
        let meets = |value: &String| {
            let found = self.values.iter().any(|wanted| self.matches(wanted, value, context, variables));
            found != self.negated
        };
        match self.set {
            Set::AllValues => given.iter().all(meets),
            Set::AnyValue | Set::None => given.iter().any(meets),
        }
    }

    fn matches(&self, wanted: &str, given: &str, context: &Context, variables: bool) -> bool {
        let literal = Syntax { wildcards: false, variables };
        let like = Syntax { wildcards: true, variables };
        match self.test {
            Test::Text => pattern::matches(wanted, given, literal, context),
            Test::TextNoCase => {
                pattern::matches(&wanted.to_lowercase(), &given.to_lowercase(), literal, context)
            }
            Test::TextLike => pattern::matches(wanted, given, like, context),
            Test::Arn => pattern::matches_arn(wanted, given, like, context),
            Test::Bool => wanted.eq_ignore_ascii_case(given),
            Test::Binary => wanted == given,
            Test::Ip => in_network(wanted, given).unwrap_or(false),
            Test::Number(order) => matches!(
                (given.parse::<f64>(), wanted.parse::<f64>()),
                (Ok(given), Ok(wanted)) if order.holds(given, wanted)
            ),
            Test::Date(order) => matches!(
                (time(given), time(wanted)),
                (Some(given), Some(wanted)) if order.holds(given, wanted)
            ),
            Test::Null => false,
        }
    }
}

/// The operators of IAM's reference, each with its negation. `ArnEquals` and `ArnLike` are the same.
fn test(name: &str) -> Option<(Test, bool)> {
    use Order::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual};
    Some(match name {
        "StringEquals" => (Test::Text, false),
        "StringNotEquals" => (Test::Text, true),
        "StringEqualsIgnoreCase" => (Test::TextNoCase, false),
        "StringNotEqualsIgnoreCase" => (Test::TextNoCase, true),
        "StringLike" => (Test::TextLike, false),
        "StringNotLike" => (Test::TextLike, true),
        "ArnEquals" | "ArnLike" => (Test::Arn, false),
        "ArnNotEquals" | "ArnNotLike" => (Test::Arn, true),
        "Bool" => (Test::Bool, false),
        "BinaryEquals" => (Test::Binary, false),
        "IpAddress" => (Test::Ip, false),
        "NotIpAddress" => (Test::Ip, true),
        "NumericEquals" => (Test::Number(Equal), false),
        "NumericNotEquals" => (Test::Number(Equal), true),
        "NumericLessThan" => (Test::Number(Less), false),
        "NumericLessThanEquals" => (Test::Number(LessOrEqual), false),
        "NumericGreaterThan" => (Test::Number(Greater), false),
        "NumericGreaterThanEquals" => (Test::Number(GreaterOrEqual), false),
        "DateEquals" => (Test::Date(Equal), false),
        "DateNotEquals" => (Test::Date(Equal), true),
        "DateLessThan" => (Test::Date(Less), false),
        "DateLessThanEquals" => (Test::Date(LessOrEqual), false),
        "DateGreaterThan" => (Test::Date(Greater), false),
        "DateGreaterThanEquals" => (Test::Date(GreaterOrEqual), false),
        "Null" => (Test::Null, false),
        _ => return None,
    })
}

/// A time as ISO 8601 (a date alone is its first second in UTC) or as seconds since 1970.
fn time(text: &str) -> Option<Timestamp> {
    text.parse::<Timestamp>().ok().or_else(|| Timestamp::from_second(text.parse().ok()?).ok()).or_else(|| {
        let date: Date = text.parse().ok()?;
        Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp())
    })
}

/// Whether an address lies in a network (`10.0.0.0/8`, `::1/128`, or a single address).
fn in_network(network: &str, address: &str) -> Option<bool> {
    let (base, bits) = network.split_once('/').map_or((network, None), |(base, bits)| (base, Some(bits)));
    let (base, address): (IpAddr, IpAddr) = (base.parse().ok()?, address.parse().ok()?);
    let (base, address, width) = match (base, address) {
        (IpAddr::V4(base), IpAddr::V4(address)) => {
            (u128::from(base.to_bits()) << 96, u128::from(address.to_bits()) << 96, 32)
        }
        (IpAddr::V6(base), IpAddr::V6(address)) => (base.to_bits(), address.to_bits(), 128),
        _ => return Some(false),
    };
    let bits: u32 = bits.map_or(Ok(width), str::parse).ok()?;
    let mask = u128::MAX.checked_shl(128_u32.checked_sub(bits)?).unwrap_or(0);
    (bits <= width).then_some(base & mask == address & mask)
}

#[cfg(test)]
mod tests;
