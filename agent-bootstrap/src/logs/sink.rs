//! The port to where events go.

use aws::CallError;

use super::batch::Event;

/// Takes events for good.
pub trait Sink {
    /// Returns when the events are stored. They are in order and within [`super::batch::Limits::API`].
    ///
    /// # Errors
    /// When they are not, as far as is known.
    fn put(&self, group: &str, events: &[Event]) -> impl Future<Output = Result<Receipt, CallError>>;
}

/// How many events were taken note of but not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Receipt {
    /// Too far in the future.
    pub too_new: usize,
    /// Too old for the service, or older than the group keeps.
    pub too_old: usize,
}

#[cfg(test)]
pub mod fake {
    //! A sink in memory that can refuse.

    use std::cell::RefCell;
    use std::collections::VecDeque;

    use aws::Fault;

    use super::*;

    /// Stores what it is given unless a fault is in line.
    #[derive(Debug, Default)]
    pub struct MemorySink {
        /// Group, and the messages of each call.
        pub stored: RefCell<Vec<(String, Vec<String>)>>,
        /// What the next calls meet.
        pub faults: RefCell<VecDeque<Fault>>,
        /// A message that makes its whole batch invalid.
        pub invalid: Option<String>,
        /// What a stored batch is answered with.
        pub receipt: Receipt,
    }

    impl MemorySink {
        /// The messages of a group.
        pub fn messages(&self, group: &str) -> Vec<String> {
            let stored = self.stored.borrow();
            stored.iter().filter(|(name, _)| name == group).flat_map(|(_, m)| m.clone()).collect()
        }
    }

    impl Sink for MemorySink {
        async fn put(&self, group: &str, events: &[Event]) -> Result<Receipt, CallError> {
            tokio::task::yield_now().await;
            let messages: Vec<String> = events.iter().map(|e| e.message.clone()).collect();
            let invalid = self.invalid.as_ref().is_some_and(|bad| messages.contains(bad));
            let fault = self.faults.borrow_mut().pop_front().or(invalid.then_some(Fault::Invalid));
            if let Some(fault) = fault {
                return Err(CallError {
                    fault,
                    operation: "logs:PutLogEvents",
                    resource: group.to_owned(),
                    code: None,
                    status: None,
                    bucket_region: None,
                    detail: format!("{fault:?}"),
                });
            }
            self.stored.borrow_mut().push((group.to_owned(), messages));
            Ok(self.receipt)
        }
    }
}
