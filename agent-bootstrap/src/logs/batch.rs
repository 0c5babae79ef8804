//! Batches that `PutLogEvents` takes. Pure.
//!
//! The limits are the API reference's (docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/
//! API_PutLogEvents.html): 1,048,576 bytes, 26 more counted for each event; 10,000 events; 24 hours from first to last;
//! in order of time. An event may have 1 MB since April 2025 and 256 KB in regions that lag: the smaller is kept.

/// One event of a log stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Milliseconds since 1970.
    pub at: i64,
    /// Not empty.
    pub message: String,
}

/// Bytes that the API counts beside each message.
pub const OVERHEAD: usize = 26;

/// The longest message of one event.
pub const LARGEST_MESSAGE: usize = 256 * 1024 - OVERHEAD;

/// What one call may carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Messages and [`OVERHEAD`] together.
    pub bytes: usize,
    /// Events.
    pub events: usize,
    /// Milliseconds from the first event to the last.
    pub span: i64,
}

impl Limits {
    /// The API's own.
    pub const API: Self = Self { bytes: 1_048_576, events: 10_000, span: 24 * 60 * 60 * 1000 };

    /// Ours: fewer bytes, so that a batch and its copies on the way out stay small in memory.
    pub const OURS: Self = Self { bytes: 256 * 1024, ..Self::API };
}

/// Bytes of an event as the API counts them.
#[must_use]
pub fn size(event: &Event) -> usize {
    event.message.len() + OVERHEAD
}

/// Cuts events into batches; one after the other they are the same events in the same order.
#[must_use]
pub fn batches(events: Vec<Event>, limits: &Limits) -> Vec<Vec<Event>> {
    let mut batches: Vec<Vec<Event>> = Vec::new();
    let (mut bytes, mut first, mut last) = (0, 0, 0);
    for event in events {
        let more = size(&event);
        match batches.last_mut() {
            Some(batch)
                if bytes + more <= limits.bytes
                    && batch.len() < limits.events
                    && event.at >= last
                    && event.at - first < limits.span =>
            {
                bytes += more;
                last = event.at;
                batch.push(event);
            }
            _ => {
                (bytes, first, last) = (more, event.at, event.at);
                batches.push(vec![event]);
            }
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_batch_ends_where_the_clock_went_back() {
        let events: Vec<Event> =
            [5, 6, 6, 4, 9].map(|at| Event { at, message: "x".into() }).into_iter().collect();
        let times: Vec<Vec<i64>> =
            batches(events, &Limits::API).iter().map(|b| b.iter().map(|e| e.at).collect()).collect();
        assert_eq!(times, [vec![5, 6, 6], vec![4, 9]]);
        assert_eq!(batches(Vec::new(), &Limits::API), Vec::<Vec<Event>>::new());
    }

    fn events() -> impl Strategy<Value = Vec<Event>> {
        let event = (0i64..200, "[a-z]{1,60}").prop_map(|(at, message)| Event { at, message });
        proptest::collection::vec(event, 0..80)
    }

    proptest! {
        #[test]
        fn nothing_is_lost_order_stays_and_limits_hold(
            events in events(), bytes in 90usize..400, most in 1usize..9, span in 1i64..150,
        ) {
            let limits = Limits { bytes, events: most, span };
            let found = batches(events.clone(), &limits);
            prop_assert_eq!(found.concat(), events);
            for batch in &found {
                prop_assert!(!batch.is_empty() && batch.len() <= most);
                prop_assert!(batch.iter().map(size).sum::<usize>() <= bytes);
                prop_assert!(batch.is_sorted_by_key(|e| e.at));
                prop_assert!(batch[batch.len() - 1].at - batch[0].at < span);
            }
        }

        #[test]
        fn no_batch_is_cut_without_need(events in events()) {
            let limits = Limits { bytes: 300, events: 5, span: 100 };
            for pair in batches(events, &limits).windows(2) {
                let (batch, next) = (&pair[0], &pair[1][0]);
                prop_assert!(
                    batch.len() == limits.events
                        || batch.iter().map(size).sum::<usize>() + size(next) > limits.bytes
                        || next.at < batch[batch.len() - 1].at
                        || next.at - batch[0].at >= limits.span
                );
            }
        }
    }
}
