//! One hint, from its bytes to an answer: the same for the daemon's endpoint and the function URL.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::Notify;

use super::heard::Heard;
use super::secret::HintSecret;
use super::{Event, Hint, LONGEST_BODY, parse};
use crate::ports::Problem;

/// Takes hints for the queues of this process.
#[derive(Debug)]
pub struct Desk {
    secret: HintSecret,
    ears: Vec<Ear>,
}

/// Who listens to hints about a queue.
#[derive(Debug, Clone)]
pub struct Ear {
    /// The queue.
    pub queue: String,
    /// What is announced goes here.
    pub heard: Arc<Heard>,
    /// Whoever looks after it is woken.
    pub look: Arc<Notify>,
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
    /// For jobs of these queues.
    #[must_use]
    pub fn new(secret: HintSecret, ears: Vec<Ear>) -> Self {
        Self { secret, ears }
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

    fn hear(&self, hint: &Hint, now: Timestamp) -> Taken {
        let mut taken = Taken::Nothing;
        for Ear { queue, heard, look } in &self.ears {
            let announced = heard.hear(hint, queue, now);
            if hint.event == Event::BuildFinished || !hint.is_for(queue) {
                continue;
            }
            look.notify_one();
            let before = if let Taken::Look { announced } = taken { announced } else { 0 };
            taken = Taken::Look { announced: before.saturating_add(announced) };
        }
        taken
    }

    fn take_genuine(&self, body: &[u8], now: Timestamp) -> Taken {
        match parse(body) {
            Ok(Some(hint)) => self.hear(&hint, now),
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
