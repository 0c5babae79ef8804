//! How long an idle instance stays, as a setting says it.

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::reader::parse_period;

/// A time that an instance stays idle: `auto`, `never`, or a duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Option<String>", into = "Option<String>")]
pub enum Stay {
    /// As long as follows from what else is known.
    Auto,
    /// There is no end to it.
    Never,
    /// So long.
    For(SignedDuration),
}

impl Stay {
    /// The time, none for ever; what follows if it is not named.
    pub fn or(self, follows: impl FnOnce() -> Option<SignedDuration>) -> Option<SignedDuration> {
        match self {
            Self::Auto => follows(),
            Self::Never => None,
            Self::For(period) => Some(period),
        }
    }
}

impl From<Stay> for Option<String> {
    fn from(stay: Stay) -> Self {
        match stay {
            Stay::Auto => Some("auto".to_owned()),
            Stay::Never => None,
            Stay::For(period) => Some(period.to_string()),
        }
    }
}

impl TryFrom<Option<String>> for Stay {
    type Error = String;

    fn try_from(text: Option<String>) -> Result<Self, String> {
        match text.as_deref() {
            None | Some("never") => Ok(Self::Never),
            Some("auto") => Ok(Self::Auto),
            Some(text) => parse_period(text).map(Self::For).ok_or_else(|| format!("no duration: {text}")),
        }
    }
}
