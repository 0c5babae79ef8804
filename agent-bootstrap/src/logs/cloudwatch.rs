//! CloudWatch Logs as the sink. The stream is the instance's id; streams are made when they are first needed.

use aws::cloudwatchlogs::Client;
use aws::cloudwatchlogs::types::{InputLogEvent, RejectedLogEventsInfo};
use aws::{CallError, Fault, Session};

use super::batch::Event;
use super::sink::{Receipt, Sink};

/// CloudWatch Logs.
#[derive(Debug, Clone)]
pub struct CloudWatchLogs {
    client: Client,
    stream: String,
    make_groups: Option<i32>,
}

impl CloudWatchLogs {
    /// Streams of an instance. `make_groups` says that missing groups are made, and for how many days they keep events.
    #[must_use]
    pub fn new(session: &Session, instance: &str, make_groups: Option<i32>) -> Self {
        Self { client: session.cloudwatchlogs(), stream: instance.to_owned(), make_groups }
    }

    async fn put_events(&self, group: &str, events: &[Event]) -> Result<Receipt, CallError> {
        let inputs = events.iter().map(|event| {
            InputLogEvent::builder().timestamp(event.at).message(&event.message).build().map_err(|e| {
                CallError {
                    fault: Fault::Invalid,
                    operation: PUT,
                    resource: group.to_owned(),
                    code: None,
                    status: None,
                    bucket_region: None,
                    detail: e.to_string(),
                }
            })
        });
        let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
        let call = self.client.put_log_events().log_group_name(group).log_stream_name(&self.stream);
        let answer = call.set_log_events(Some(inputs)).send().await;
        let answer = answer.map_err(|e| CallError::new(&e, PUT, group))?;
        Ok(answer.rejected_log_events_info().map(|info| receipt(info, events.len())).unwrap_or_default())
    }

    async fn make_stream(&self, group: &str) -> Result<(), CallError> {
        let call = self.client.create_log_stream().log_group_name(group).log_stream_name(&self.stream);
        match call.send().await {
            Err(error)
                if !error.as_service_error().is_some_and(|e| e.is_resource_already_exists_exception()) =>
            {
                Err(CallError::new(&error, "logs:CreateLogStream", group))
            }
            _ => Ok(()),
        }
    }

    async fn make_group(&self, group: &str, days: i32) -> Result<(), CallError> {
        let made = self.client.create_log_group().log_group_name(group).send().await;
        if let Err(error) = made {
            // Another instance made it meanwhile, and keeps events for its own time.
            if error.as_service_error().is_some_and(|e| e.is_resource_already_exists_exception()) {
                return Ok(());
            }
            return Err(CallError::new(&error, "logs:CreateLogGroup", group));
        }
        let kept = self.client.put_retention_policy().log_group_name(group).retention_in_days(days);
        kept.send().await.map_err(|e| CallError::new(&e, "logs:PutRetentionPolicy", group))?;
        Ok(())
    }
}

const PUT: &str = "logs:PutLogEvents";

impl Sink for CloudWatchLogs {
    async fn put(&self, group: &str, events: &[Event]) -> Result<Receipt, CallError> {
        match self.put_events(group, events).await {
            Err(error) if error.fault == Fault::Absent => {}
            answer => return answer,
        }
        match (self.make_stream(group).await, self.make_groups) {
            (Ok(()), _) => {}
            (Err(error), Some(days)) if error.fault == Fault::Absent => {
                self.make_group(group, days).await?;
                self.make_stream(group).await?;
            }
            (Err(error), _) => return Err(error),
        }
        self.put_events(group, events).await
    }
}

/// Events are refused at the ends of a batch: too new ones from an index on, too old ones up to one.
fn receipt(info: &RejectedLogEventsInfo, count: usize) -> Receipt {
    let index = |value: Option<i32>| value.and_then(|v| usize::try_from(v).ok()).map(|v| v.min(count));
    let too_old = index(info.too_old_log_event_end_index()).max(index(info.expired_log_event_end_index()));
    Receipt {
        too_new: index(info.too_new_log_event_start_index()).map_or(0, |start| count - start),
        too_old: too_old.unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_events_are_counted_from_both_ends() {
        let info = RejectedLogEventsInfo::builder();
        let new = info.clone().too_new_log_event_start_index(7).build();
        assert_eq!(receipt(&new, 10), Receipt { too_new: 3, too_old: 0 });
        let old = info.clone().too_old_log_event_end_index(2).expired_log_event_end_index(4).build();
        assert_eq!(receipt(&old, 10), Receipt { too_new: 0, too_old: 4 });
        assert_eq!(
            receipt(&info.expired_log_event_end_index(99).build(), 10),
            Receipt { too_new: 0, too_old: 10 }
        );
    }
}
