//! Lines to CloudWatch Logs, in batches, beside the build. A log that cannot be sent delays no build: it waits, the oldest
//! lines go first when it grows too long, and one line says how many.

use std::collections::VecDeque;
use std::time::Duration;

use aws::cloudwatchlogs::Client;
use aws::cloudwatchlogs::types::InputLogEvent;
use aws::{CallError, Fault, Session};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// kiln's agent sent what was five seconds old.
const DELAY: Duration = Duration::from_secs(5);

/// The wait after a failure.
const RETRY: Duration = Duration::from_secs(15);

/// The longest that an end waits for what was not sent yet.
const LAST_PATIENCE: Duration = Duration::from_secs(20);

/// Lines that wait at most.
const MOST_WAITING: usize = 20_000;

/// The API takes 10,000 events and a mebibyte, each event counted with 26 bytes more.
const BATCH_EVENTS: usize = 5_000;
const BATCH_BYTES: usize = 900_000;
const EVENT_BYTES: usize = 200_000;
const EVENT_OVERHEAD: usize = 26;

/// A line with its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Unix milliseconds.
    pub at: i64,
    /// The line.
    pub message: String,
}

/// The way to a stream of CloudWatch Logs. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Shipping {
    orders: mpsc::UnboundedSender<Order>,
    place: (String, String),
}

#[derive(Debug)]
enum Order {
    Send(Event),
    Flush(oneshot::Sender<()>),
}

impl Shipping {
    /// Starts sending to this group and stream.
    #[must_use]
    pub fn start(session: &Session, group: &str, stream: &str) -> Self {
        let (orders, received) = mpsc::unbounded_channel();
        let sender = Sender {
            client: session.cloudwatchlogs(),
            group: group.to_owned(),
            stream: stream.to_owned(),
            waiting: VecDeque::new(),
            dropped: 0,
            told: false,
        };
        tokio::spawn(sender.serve(received));
        Self { orders, place: (group.to_owned(), stream.to_owned()) }
    }

    /// Group and stream.
    #[must_use]
    pub fn place(&self) -> &(String, String) {
        &self.place
    }

    /// Takes a line; it is sent soon.
    pub fn send(&self, event: Event) {
        // The task lives as long as the runtime: only at its very end nobody listens.
        let _ = self.orders.send(Order::Send(event));
    }

    /// Waits until all lines are sent, for a while.
    pub async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        if self.orders.send(Order::Flush(done)).is_ok() {
            let _ = tokio::time::timeout(LAST_PATIENCE, flushed).await;
        }
    }
}

struct Sender {
    client: Client,
    group: String,
    stream: String,
    waiting: VecDeque<Event>,
    dropped: u64,
    told: bool,
}

impl Sender {
    async fn serve(mut self, mut orders: mpsc::UnboundedReceiver<Order>) {
        let mut due: Option<Instant> = None;
        loop {
            let wake = async {
                match due {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                order = orders.recv() => match order {
                    None => return,
                    Some(Order::Send(event)) => {
                        self.take(event);
                        due = due.or_else(|| Some(Instant::now() + DELAY));
                    }
                    Some(Order::Flush(done)) => {
                        while !self.waiting.is_empty() && !self.deliver().await {
                            tokio::time::sleep(Duration::from_secs(1)).await;
                        }
                        due = None;
                        // Who waited may have gone.
                        let _ = done.send(());
                    }
                },
                () = wake => {
                    due = match self.deliver().await {
                        true => None,
                        false => Some(Instant::now() + RETRY),
                    };
                }
            }
        }
    }

    fn take(&mut self, mut event: Event) {
        if event.message.len() > EVENT_BYTES {
            let mut end = EVENT_BYTES;
            while !event.message.is_char_boundary(end) {
                end -= 1;
            }
            event.message.truncate(end);
        }
        self.waiting.push_back(event);
        if self.waiting.len() > MOST_WAITING {
            self.waiting.pop_front();
            self.dropped += 1;
        }
    }

    /// Sends all that waits; true when nothing is left.
    async fn deliver(&mut self) -> bool {
        while !self.waiting.is_empty() {
            let batch = batch_of(&self.waiting);
            let events: Vec<_> = self.waiting.iter().take(batch).cloned().collect();
            match self.put(&events).await {
                Ok(()) => drop(self.waiting.drain(..batch)),
                // One batch that is refused shall not hold up all others.
                Err(error) if error.fault == Fault::Invalid => {
                    eprintln!("image-builder: {error}; {batch} lines are not in CloudWatch");
                    drop(self.waiting.drain(..batch));
                }
                Err(error) => {
                    if !std::mem::replace(&mut self.told, true) {
                        eprintln!("image-builder: {error}; lines wait and are sent later");
                    }
                    return false;
                }
            }
        }
        if self.dropped > 0 {
            eprintln!("image-builder: {} lines are not in CloudWatch, it could not be reached", self.dropped);
            self.dropped = 0;
        }
        self.told = false;
        true
    }

    async fn put(&self, events: &[Event]) -> Result<(), CallError> {
        match self.put_events(events).await {
            Err(error) if error.fault == Fault::Absent => {}
            other => return other,
        }
        self.make_stream().await?;
        self.put_events(events).await
    }

    async fn put_events(&self, events: &[Event]) -> Result<(), CallError> {
        let inputs = events.iter().filter_map(|event| {
            let message = if event.message.is_empty() { " " } else { &event.message };
            InputLogEvent::builder().timestamp(event.at).message(message).build().ok()
        });
        let call = self.client.put_log_events().log_group_name(&self.group).log_stream_name(&self.stream);
        let answer = call.set_log_events(Some(inputs.collect())).send().await;
        answer.map(drop).map_err(|error| CallError::new(&error, "logs:PutLogEvents", &self.group))
    }

    async fn make_stream(&self) -> Result<(), CallError> {
        let stream =
            self.client.create_log_stream().log_group_name(&self.group).log_stream_name(&self.stream);
        match stream
            .clone()
            .send()
            .await
            .map_err(|error| CallError::new(&error, "logs:CreateLogStream", &self.group))
        {
            Err(error) if error.fault == Fault::Absent => {
                let group = self.client.create_log_group().log_group_name(&self.group).send().await;
                group.map_err(|error| CallError::new(&error, "logs:CreateLogGroup", &self.group))?;
                let made = stream.send().await;
                made.map(drop).map_err(|error| CallError::new(&error, "logs:CreateLogStream", &self.group))
            }
            Err(error) if error.code.as_deref() != Some("ResourceAlreadyExistsException") => Err(error),
            _ => Ok(()),
        }
    }
}

/// How many of these go into one call.
fn batch_of(waiting: &VecDeque<Event>) -> usize {
    let mut bytes = 0;
    let fits = waiting.iter().take(BATCH_EVENTS).take_while(|event| {
        bytes += event.message.len() + EVENT_OVERHEAD;
        bytes <= BATCH_BYTES
    });
    fits.count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_within_the_limits_of_the_call() {
        let event = |bytes: usize| Event { at: 0, message: "x".repeat(bytes) };
        for (lengths, batch) in
            [(vec![10; 10], 10), (vec![10; 6_000], 5_000), (vec![200_000; 10], 4), (vec![200_000], 1)]
        {
            let waiting = lengths.into_iter().map(event).collect();
            assert_eq!(batch_of(&waiting), batch);
        }
    }
}
