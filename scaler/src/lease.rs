//! Who may lower desired capacity, where several scalers serve one queue. Pure: times are parameters.
//!
//! AWS has no conditional SetDesiredCapacity. Anybody may *raise* it: all scalers come to the same number, and a raise
//! to what is there changes nothing, so a hint never waits for a lease. Only *lowering* needs it: a scaler that saw less
//! than another would undo what that one has just asked for.
//!
//! The lease is an item with a version. It is taken when there is something to lower, by replacing the version that was
//! read, and taken anew while there still is. No clocks are compared: who wants it and finds somebody else's waits until
//! it has seen the same version for [`SILENT`] by its own clock. Whoever took it lowers for [`HOLDS`] from before it
//! asked, which is less, so that clocks may differ in speed by a tenth. A process that was frozen cannot count on its
//! steady clock, so the wall clock may end its hold as well, never prolong it.

pub mod holder;

use std::time::Duration;

use jiff::Timestamp;

/// For so long a scaler lowers after it took the lease.
pub const HOLDS: Duration = Duration::from_secs(24);

/// At this age it is taken anew, if there still is something to lower: a call to AWS then has the rest.
pub const RENEW: Duration = Duration::from_secs(12);

/// A lease that is not taken anew for so long is anybody's.
pub const SILENT: Duration = Duration::from_secs(30);

/// What lies there: whose it is, and the how manieth time it was taken by that scaler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The scaler.
    pub owner: String,
    /// Another number with every time.
    pub turn: u64,
}

/// One's own time, by two clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// By a clock that is never set, and may stand still while the process is frozen.
    pub steady: Duration,
    /// By the one on the wall.
    pub wall: Timestamp,
}

impl Moment {
    /// How old it is at most.
    fn age(&self, now: &Self) -> Duration {
        let steady = now.steady.saturating_sub(self.steady);
        // A wall clock that was set back tells nothing.
        let wall = Duration::try_from(now.wall.duration_since(self.wall)).unwrap_or_default();
        steady.max(wall)
    }
}

/// What to do about a wish to lower.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Lower, within this time.
    Lower(Duration),
    /// Read what lies there.
    Read,
    /// Put this, if what lies there is still that.
    Take {
        /// What lies there.
        over: Option<Held>,
        /// What shall.
        to_be: Held,
    },
    /// Leave it to that scaler.
    Leave(String),
}

/// What one scaler knows of the lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    owner: String,
    turn: u64,
    taken: Option<(u64, Moment)>,
    watched: Option<(Held, Duration)>,
}

impl Lease {
    /// Of a scaler with this name, which no other process has.
    #[must_use]
    pub fn new(owner: impl Into<String>) -> Self {
        Self { owner: owner.into(), turn: 0, taken: None, watched: None }
    }

    /// There is something to lower.
    #[must_use]
    pub fn wish(&self, now: &Moment) -> Next {
        let Some((turn, at)) = &self.taken else { return Next::Read };
        let age = at.age(now);
        if age < RENEW {
            return Next::Lower(HOLDS - age);
        }
        // It is this scaler's as long as nobody else replaced it, however old it is.
        self.take(Some(Held { owner: self.owner.clone(), turn: *turn }))
    }

    /// What was read, at the time of the answer.
    pub fn read(&mut self, there: Option<Held>, now: &Moment) -> Next {
        let Some(there) = there else { return self.take(None) };
        if there.owner == self.owner {
            // An answer was lost.
            return self.take(Some(there));
        }
        match &self.watched {
            Some((held, since)) if *held == there => {
                if now.steady.saturating_sub(*since) >= SILENT {
                    return self.take(Some(there));
                }
            }
            _ => self.watched = Some((there.clone(), now.steady)),
        }
        Next::Leave(there.owner)
    }

    fn take(&self, over: Option<Held>) -> Next {
        Next::Take { over, to_be: Held { owner: self.owner.clone(), turn: self.turn + 1 } }
    }

    /// It is asked to put `to_be`. No turn is used twice, whatever becomes of it.
    pub fn asks(&mut self, to_be: &Held) {
        self.turn = self.turn.max(to_be.turn);
    }

    /// What became of putting `to_be`, which was asked at `asked`.
    pub fn took(&mut self, to_be: &Held, won: bool, asked: Moment) {
        self.watched = None;
        self.taken = won.then_some((to_be.turn, asked));
    }

    /// Gives it up; what lies there then, if it is this scaler's.
    pub fn give_up(&mut self) -> Option<Held> {
        let (turn, _) = self.taken.take()?;
        Some(Held { owner: self.owner.clone(), turn })
    }
}

#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;
