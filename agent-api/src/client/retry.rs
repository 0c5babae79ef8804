//! When a failed call is tried again, after which pause, and when it is given up. Pure: the random part comes in.
//!
//! The numbers are those of the newest open-source agent.

use std::time::Duration;

use super::error::ApiError;

/// Which failures are worth another attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    /// Every one.
    Always,
    /// All but a 4xx that is not 429.
    UnlessRefused,
    /// All but a 4xx, 429 too: what is refused is lost.
    UnlessAny4xx,
    /// Only when there was no usable answer at all.
    WithoutAnswer,
    /// No usable answer, 429, 5xx, and 423: the job is locked by a dependency.
    UnlessRefusedOrLocked,
}

/// How the pauses grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pause {
    /// Always so many seconds.
    Seconds(u64),
    /// Doubling from so many seconds, at most [`LONGEST_PAUSE`].
    Doubling(u64),
}

/// Longest pause of a doubling policy: 12 attempts from 1 s are then about ten minutes.
const LONGEST_PAUSE: u64 = 120;

/// The rule of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    attempts: u32,
    pause: Pause,
    again: Again,
    /// Is `Retry-After` obeyed?
    obeys_retry_after: bool,
}

const fn policy(attempts: u32, pause: Pause, again: Again) -> Policy {
    Policy { attempts, pause, again, obeys_retry_after: false }
}

/// One attempt, for calls that come again by themselves.
pub const ONCE: Policy = policy(1, Pause::Seconds(0), Again::Always);
/// `POST register`.
pub const REGISTER: Policy = policy(30, Pause::Seconds(10), Again::UnlessRefused);
/// `POST connect`.
pub const CONNECT: Policy = policy(10, Pause::Seconds(5), Again::Always);
/// `POST heartbeat`.
pub const HEARTBEAT: Policy = policy(10, Pause::Seconds(5), Again::UnlessRefused);
/// `PUT jobs/:id/accept`.
pub const ACCEPT: Policy = policy(30, Pause::Seconds(5), Again::WithoutAnswer);
/// `PUT jobs/:id/acquire`.
pub const ACQUIRE: Policy =
    Policy { obeys_retry_after: true, ..policy(7, Pause::Doubling(1), Again::UnlessRefusedOrLocked) };
/// `PUT jobs/:id/start`.
pub const START: Policy = policy(7, Pause::Doubling(1), Again::UnlessRefused);
/// `POST jobs/:id/chunks`.
pub const CHUNK: Policy = policy(12, Pause::Doubling(1), Again::UnlessAny4xx);
/// `POST jobs/:id/header_times`.
pub const HEADER_TIMES: Policy = policy(10, Pause::Seconds(5), Again::UnlessAny4xx);
/// `PUT jobs/:id/finish`.
pub const FINISH: Policy = policy(12, Pause::Doubling(1), Again::UnlessRefused);
/// `POST disconnect`.
pub const DISCONNECT: Policy = policy(4, Pause::Seconds(1), Again::Always);
/// `POST jobs/:id/data/…`.
pub const META_DATA: Policy = policy(10, Pause::Seconds(5), Again::UnlessRefused);

impl Policy {
    /// The pause before the next attempt after `attempt` (counted from 1) failed with `error`; `None`: give up.
    /// `random` in 0..1 adds up to a second, so that many agents do not come back in step.
    #[must_use]
    pub fn pause_after(&self, attempt: u32, error: &ApiError, random: f64) -> Option<Duration> {
        if attempt >= self.attempts || !self.again.allows(error) {
            return None;
        }
        if let Some(asked) = error.retry_after().filter(|_| self.obeys_retry_after) {
            return Some(asked);
        }
        let seconds = match self.pause {
            Pause::Seconds(seconds) => seconds,
            Pause::Doubling(first) => first.saturating_mul(1 << (attempt - 1).min(16)).min(LONGEST_PAUSE),
        };
        Some(Duration::from_secs(seconds) + Duration::from_secs_f64(random.clamp(0.0, 1.0)))
    }
}

impl Again {
    fn allows(self, error: &ApiError) -> bool {
        let locked = error.status() == Some(423);
        match (self, error) {
            (_, ApiError::Request { .. }) => false,
            (Self::Always, _) => true,
            (Self::UnlessRefused, _) => !error.is_refusal(),
            (Self::UnlessRefusedOrLocked, _) => locked || !error.is_refusal(),
            (Self::UnlessAny4xx, _) => error.status().is_none_or(|status| status >= 500),
            (Self::WithoutAnswer, _) => error.status().is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejected(status: u16) -> ApiError {
        let (message, retry_after) = (String::new(), None);
        match status {
            401 => ApiError::Unauthorized { call: "t", message },
            429 => ApiError::Throttled { call: "t", message, retry_after },
            500.. => ApiError::Server { call: "t", status, message, retry_after },
            _ => ApiError::Rejected { call: "t", status, message, retry_after },
        }
    }

    fn attempts(policy: Policy, error: &ApiError) -> u32 {
        (1..).find(|attempt| policy.pause_after(*attempt, error, 0.0).is_none()).unwrap_or_default()
    }

    #[test]
    fn row_18_attempts_by_call_and_failure() {
        let none = ApiError::Timeout { call: "t" };
        let garbage = ApiError::Garbage { call: "t", cause: String::new() };
        // policy, no answer, garbage, 401, 404, 422, 423, 429, 500
        let table = [
            ("register", REGISTER, [30, 30, 1, 1, 1, 1, 30, 30]),
            ("connect", CONNECT, [10; 8]),
            ("heartbeat", HEARTBEAT, [10, 10, 1, 1, 1, 1, 10, 10]),
            ("ping, state", ONCE, [1; 8]),
            ("accept", ACCEPT, [30, 30, 1, 1, 1, 1, 1, 1]),
            ("acquire", ACQUIRE, [7, 7, 1, 1, 1, 7, 7, 7]),
            ("start", START, [7, 7, 1, 1, 1, 1, 7, 7]),
            ("chunk", CHUNK, [12, 12, 1, 1, 1, 1, 1, 12]),
            ("header_times", HEADER_TIMES, [10, 10, 1, 1, 1, 1, 1, 10]),
            ("finish", FINISH, [12, 12, 1, 1, 1, 1, 12, 12]),
            ("disconnect", DISCONNECT, [4; 8]),
            ("meta-data", META_DATA, [10, 10, 1, 1, 1, 1, 10, 10]),
        ];
        for (name, policy, expected) in table {
            let errors = [none.clone(), garbage.clone()].into_iter();
            let errors = errors.chain([401, 404, 422, 423, 429, 500].map(rejected));
            let got: Vec<u32> = errors.map(|error| attempts(policy, &error)).collect();
            assert_eq!(got, expected, "{name}");
        }
    }

    #[test]
    fn row_18_twelve_attempts_last_about_ten_minutes() {
        let error = rejected(503);
        let pauses = (1..12).filter_map(|attempt| FINISH.pause_after(attempt, &error, 0.0));
        let total = pauses.sum::<Duration>().as_secs();
        assert!((540..=660).contains(&total), "{total} s");
    }

    #[test]
    fn row_18_retry_after_is_obeyed_by_acquire_only() {
        let retry_after = Some(Duration::from_secs(33));
        let error = ApiError::Throttled { call: "t", message: String::new(), retry_after };
        assert_eq!(ACQUIRE.pause_after(1, &error, 0.5), retry_after);
        assert_eq!(FINISH.pause_after(1, &error, 0.5), Some(Duration::from_millis(1500)));
    }
}
