//! One hint, from its bytes to an answer: the same for the daemon's endpoint and the function URL.

use std::sync::Arc;

use jiff::Timestamp;

use super::heard::Heard;
use super::secret::HintSecret;
use super::{LONGEST_BODY, parse};
use crate::ports::Problem;

/// Takes hints for one queue.
#[derive(Debug)]
pub struct Desk {
    secret: HintSecret,
    queue: String,
    heard: Arc<Heard>,
}

/// What became of a hint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// The next look comes at once.
    Look {
        /// Jobs that it announced.
        announced: u32,
    },
    /// Genuine, and nothing to look for: another event, another queue, the end of a build.
    Nothing,
    /// Not genuine. Nobody is told why.
    Refused,
    /// Larger than any webhook.
    TooLarge,
    /// Genuine, and no webhook.
    Unreadable,
    /// The secret cannot be read now.
    Unavailable,
}

impl Taken {
    /// The HTTP status and the body of the answer.
    #[must_use]
    pub fn answer(self) -> (u16, &'static str) {
        match self {
            Self::Look { .. } => (202, "{\"hint\":\"taken\"}\n"),
            Self::Nothing => (200, "{\"hint\":\"ignored\"}\n"),
            Self::Refused => (401, "{\"message\":\"unauthorized\"}\n"),
            Self::TooLarge => (413, "{\"message\":\"too large\"}\n"),
            Self::Unreadable => (400, "{\"message\":\"no webhook\"}\n"),
            Self::Unavailable => (503, "{\"message\":\"try again\"}\n"),
        }
    }
}

impl Desk {
    /// For jobs of `queue`; what is announced goes to `heard`.
    #[must_use]
    pub fn new(secret: HintSecret, queue: &str, heard: Arc<Heard>) -> Self {
        Self { secret, queue: queue.to_owned(), heard }
    }

    /// Takes a webhook with this signature.
    pub async fn take(&self, signature: Option<&str>, body: &[u8], now: Timestamp) -> Taken {
        if body.len() > LONGEST_BODY {
            return Taken::TooLarge;
        }
        match self.secret.verify(signature, body, now).await {
            Ok(Ok(())) => self.take_genuine(body, now),
            Ok(Err(reason)) => {
                eprintln!("scaler: a hint is refused: {reason}");
                Taken::Refused
            }
            Err(Problem { message, .. }) => {
                eprintln!("scaler: a hint cannot be verified: {message}");
                Taken::Unavailable
            }
        }
    }

    fn take_genuine(&self, body: &[u8], now: Timestamp) -> Taken {
        match parse(body) {
            Ok(Some(hint)) => {
                let announced = self.heard.hear(&hint, &self.queue, now);
                let looks = hint.event != super::Event::BuildFinished && hint.is_for(&self.queue);
                if looks { Taken::Look { announced } } else { Taken::Nothing }
            }
            Ok(None) => Taken::Nothing,
            Err(error) => {
                eprintln!("scaler: a hint is {error}");
                Taken::Unreadable
            }
        }
    }
}

#[cfg(test)]
mod tests;
