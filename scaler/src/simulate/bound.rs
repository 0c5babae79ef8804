//! The clairvoyant bound: what it costs at least that no job ever waits.
//!
//! Who knows all jobs ahead boots each instance just in time. Between two jobs an instance stays if the gap is shorter
//! than a boot, and else ends and another one boots: a gap costs the smaller of both. A job takes the agent that became
//! free last, so that gaps are as uneven as they can be.

use super::trace::{Millis, Trace};

/// Instance time of a course without waits, for instances with one agent that boot in `boot`.
#[must_use]
pub fn least_paid(trace: &Trace, boot: Millis) -> Millis {
    let mut ends = std::collections::BinaryHeap::new();
    // Times at which agents became free, in their order.
    let mut free: Vec<Millis> = Vec::new();
    let mut paid = trace.busy();
    for job in &trace.jobs {
        while let Some(std::cmp::Reverse(end)) =
            ends.peek().copied().filter(|std::cmp::Reverse(end)| *end <= job.runnable_at)
        {
            ends.pop();
            free.push(end);
        }
        paid += free.pop().map_or(boot, |since| boot.min(job.runnable_at - since));
        ends.push(std::cmp::Reverse(job.runnable_at + job.duration));
    }
    paid
}
