//! What an instance costs. Pure.

use std::fmt;

use serde_json::Value;

/// The price of one instance for an hour, in millionths of whatever currency its owner reckons in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HourlyPrice(u64);

impl HourlyPrice {
    /// What a document may say.
    pub const FORM: &str =
        "the price of an instance for an hour, such as 0.0912, or a list, one for each group";

    /// A number of a document; none where it is negative, or beyond a million.
    #[must_use]
    pub fn of(value: &Value) -> Option<Self> {
        let price = value.as_f64().filter(|price| (0.0..=1e6).contains(price))?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 10^12")]
        Some(Self((price * 1e6).round() as u64))
    }

    /// What so many instances cost in an hour.
    #[must_use]
    pub fn of_instances(self, count: u32) -> f64 {
        // Far below 2^53, where f64 still counts exactly, but for more instances than there are.
        #[expect(clippy::cast_precision_loss, reason = "millionths of a price")]
        let price = self.0 as f64 / 1e6;
        price * f64::from(count)
    }
}

impl fmt::Display for HourlyPrice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.of_instances(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_is_a_number_that_is_not_negative() {
        let of =
            |text: &str| HourlyPrice::of(&serde_json::from_str(text).unwrap()).map(|price| price.to_string());
        for (text, price) in
            [("0.0912", Some("0.0912")), ("0", Some("0")), ("3", Some("3")), ("1000000", Some("1000000"))]
        {
            assert_eq!(of(text).as_deref(), price, "{text}");
        }
        for text in ["-0.1", "1e7", "\"0.1\"", "null", "true"] {
            assert_eq!(of(text), None, "{text}");
        }
        let price = HourlyPrice::of(&serde_json::json!(0.0416)).unwrap();
        assert!((price.of_instances(25) - 1.04).abs() < 1e-9);
    }
}
