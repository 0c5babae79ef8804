//! Jobs that were announced and are not there yet. Pure: `now` is a parameter.
//!
//! An announcement (a push, a build that begins) says how many jobs will come, and may be wrong in everything: the
//! number, the time, that they come at all. So it only ever adds capacity, within a budget, and for a while.
//!
//! Job counts name no builds. That announced jobs have come is told by the counts' rise: a rise belongs to the oldest
//! announcement, and beyond it to the next one only if it is most of that too; an estimate that was too low must not
//! use up what was said of another build. How long before the jobs an announcement comes is learned from those that
//! came true; one that is much older than that was wrong.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// What is believed, and how far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LookAhead {
    /// For how long an announcement is believed before its jobs come, at most; and at first, before anything is learned.
    pub patience: SignedDuration,
    /// For how long the rest of it is, once its first jobs came.
    pub rest: SignedDuration,
    /// Jobs that are prepared for in all, at most.
    pub most: u32,
    /// Capacity for each announced job, as a percentage: above 100 where waiting is dearer than idling.
    pub percent: u32,
}

impl Default for LookAhead {
    fn default() -> Self {
        let s = SignedDuration::from_secs;
        Self { patience: s(120), rest: s(3), most: 1000, percent: 110 }
    }
}

/// Announcements that are still believed, and what was learned of earlier ones.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forecast {
    announced: VecDeque<Announced>,
    unfinished: u64,
    /// From announcements to their first jobs; the latest last.
    leads: VecDeque<SignedDuration>,
}

/// Leads that are remembered: enough for the longest of them to be typical, few enough to forget what has changed.
const LEADS: usize = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Announced {
    left: u32,
    at: Timestamp,
    /// When its first jobs came.
    began: Option<Timestamp>,
}

impl Forecast {
    /// Takes note of `jobs` announced jobs.
    pub fn announce(&mut self, jobs: u32, look_ahead: &LookAhead, now: Timestamp) {
        if jobs > 0 {
            let left = u64::from(jobs).saturating_mul(u64::from(look_ahead.percent)).div_ceil(100);
            let left = u32::try_from(left).unwrap_or(u32::MAX);
            self.announced.push_back(Announced { left, at: now, began: None });
        }
    }

    /// Takes note of the jobs that are there (`unfinished`: scheduled and running), and tells how many more to prepare
    /// for.
    pub fn note(&mut self, unfinished: u64, look_ahead: &LookAhead, now: Timestamp) -> u32 {
        let rise = unfinished.saturating_sub(self.unfinished);
        self.unfinished = unfinished;
        self.use_up(u32::try_from(rise).unwrap_or(u32::MAX), now);
        let patience = self.patience(look_ahead);
        self.announced.retain(|announced| {
            let (since, most) =
                announced.began.map_or((announced.at, patience), |began| (began, look_ahead.rest));
            announced.left > 0 && now.duration_since(since) < most
        });
        let expected = self.announced.iter().fold(0u32, |sum, announced| sum.saturating_add(announced.left));
        expected.min(look_ahead.most)
    }

    fn use_up(&mut self, mut rise: u32, now: Timestamp) {
        for (place, announced) in self.announced.iter_mut().enumerate() {
            if rise == 0 || (place > 0 && rise < announced.left.div_ceil(2)) {
                break;
            }
            let came = rise.min(announced.left);
            announced.left -= came;
            rise -= came;
            if announced.began.is_none() {
                announced.began = Some(now);
                self.leads.push_back(now.duration_since(announced.at));
            }
        }
        let forgotten = self.leads.len().saturating_sub(LEADS);
        self.leads.drain(..forgotten);
    }

    /// Half as long again as the longest remembered lead.
    fn patience(&self, look_ahead: &LookAhead) -> SignedDuration {
        let learned = self.leads.iter().max().filter(|_| self.leads.len() == LEADS);
        learned.map_or(look_ahead.patience, |lead| (*lead + *lead / 2).min(look_ahead.patience))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LOOK_AHEAD: LookAhead = LookAhead {
        patience: SignedDuration::from_secs(100),
        rest: SignedDuration::from_secs(3),
        most: 50,
        percent: 100,
    };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    /// What is expected after each look at (second, announced before it, unfinished jobs).
    fn expected(looks: &[(i64, u32, u64)]) -> Vec<u32> {
        let mut forecast = Forecast::default();
        let look = |(second, announced, unfinished): &(i64, u32, u64)| {
            forecast.announce(*announced, &LOOK_AHEAD, at(*second));
            forecast.note(*unfinished, &LOOK_AHEAD, at(*second))
        };
        looks.iter().map(look).collect()
    }

    #[test]
    fn announced_jobs_count_until_they_come_or_are_given_up() {
        assert_eq!(expected(&[(0, 10, 0), (40, 0, 0), (45, 0, 10)]), [10, 10, 0], "as announced");
        assert_eq!(expected(&[(0, 10, 0), (99, 0, 0), (100, 0, 0)]), [10, 10, 0], "never came");
        assert_eq!(expected(&[(0, 10, 0), (45, 0, 6), (47, 0, 6), (48, 0, 6)]), [10, 4, 4, 0], "fewer came");
        assert_eq!(expected(&[(0, 10, 0), (45, 0, 14)]), [10, 0], "more came");
        assert_eq!(
            expected(&[(0, 0, 5), (1, 10, 5), (20, 0, 2), (45, 0, 12)]),
            [0, 10, 10, 0],
            "others end meanwhile"
        );
        assert_eq!(expected(&[(0, 60, 0), (1, 0, 20)]), [50, 40], "within the budget");
    }

    #[test]
    fn a_build_larger_than_announced_does_not_use_up_the_next_one() {
        assert_eq!(expected(&[(0, 10, 0), (5, 10, 0), (45, 0, 14)]), [10, 20, 10]);
        assert_eq!(expected(&[(0, 10, 0), (5, 10, 0), (45, 0, 18)]), [10, 20, 2], "both came within a look");
    }

    #[test]
    fn patience_is_learned_from_what_came_true() {
        let mut forecast = Forecast::default();
        let mut second = 0;
        for _ in 0..LEADS {
            forecast.announce(2, &LOOK_AHEAD, at(second));
            assert_eq!(forecast.note(0, &LOOK_AHEAD, at(second)), 2);
            assert_eq!(forecast.note(2, &LOOK_AHEAD, at(second + 20)), 0);
            assert_eq!(forecast.note(0, &LOOK_AHEAD, at(second + 60)), 0);
            second += 100;
        }
        forecast.announce(2, &LOOK_AHEAD, at(second));
        let expected = [0, 29, 30].map(|later| forecast.note(0, &LOOK_AHEAD, at(second + later)));
        assert_eq!(expected, [2, 2, 0], "half as long again as the leads of 20 s");
    }

    proptest! {
        #[test]
        fn whatever_is_announced_stays_within_the_budget_and_is_forgotten(
            looks in proptest::collection::vec((0i64..30, 0u32..100, 0u64..200), 1..60)
        ) {
            let mut forecast = Forecast::default();
            let mut second = 0;
            for (later, announced, unfinished) in looks {
                second += later;
                forecast.announce(announced, &LOOK_AHEAD, at(second));
                prop_assert!(forecast.note(unfinished, &LOOK_AHEAD, at(second)) <= LOOK_AHEAD.most);
            }
            let last = forecast.unfinished;
            prop_assert_eq!(forecast.note(last, &LOOK_AHEAD, at(second + 100)), 0);
            prop_assert!(forecast.leads.len() <= LEADS);
        }

        #[test]
        fn without_announcements_nothing_is_expected(looks in proptest::collection::vec(0u64..500, 1..40)) {
            let mut forecast = Forecast::default();
            for (second, unfinished) in (0..).zip(looks) {
                prop_assert_eq!(forecast.note(unfinished, &LOOK_AHEAD, at(second)), 0);
            }
        }
    }
}
