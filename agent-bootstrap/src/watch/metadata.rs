//! What the instance metadata tells `watch`.

use aws::{CallError, Imds};
use jiff::Timestamp;
use jiff::civil::DateTime;
use lifecycle::{AwsState, Notices};

/// The metadata of this instance.
pub trait Metadata {
    /// The lifecycle state that the group aims at; `None` where there is none (yet).
    ///
    /// # Errors
    /// When the service does not answer.
    fn target_state(&self) -> impl Future<Output = Result<Option<AwsState>, CallError>>;

    /// What EC2 announces.
    ///
    /// # Errors
    /// When the service does not answer.
    fn notices(&self) -> impl Future<Output = Result<Notices, CallError>>;

    /// When the machine was launched; `None` where that is not told.
    ///
    /// # Errors
    /// When the service does not answer.
    fn launched(&self) -> impl Future<Output = Result<Option<Timestamp>, CallError>>;
}

/// The instance metadata service.
#[derive(Debug, Clone)]
pub struct ImdsMetadata(pub Imds);

impl Metadata for ImdsMetadata {
    async fn target_state(&self) -> Result<Option<AwsState>, CallError> {
        let text = self.0.get("meta-data/autoscaling/target-lifecycle-state").await?;
        Ok(text.map(|name| AwsState::from(name.as_str())))
    }

    async fn notices(&self) -> Result<Notices, CallError> {
        let (spot, rebalance, maintenance) = futures::try_join!(
            self.0.get("meta-data/spot/instance-action"),
            self.0.get("meta-data/events/recommendations/rebalance"),
            self.0.get("meta-data/events/maintenance/scheduled"),
        )?;
        Ok(Notices {
            spot: spot.map(|text| interruption(&text, Timestamp::now())),
            rebalance: rebalance.is_some(),
            maintenance: maintenance.is_some_and(|text| is_scheduled(&text, Timestamp::now())),
        })
    }

    async fn launched(&self) -> Result<Option<Timestamp>, CallError> {
        Ok(self.0.get("dynamic/instance-identity/document").await?.as_deref().and_then(pending_time))
    }
}

/// When EC2 takes the instance back, be it to terminate, stop or hibernate it. A notice that cannot be read is one of
/// now: there are two minutes at most.
fn interruption(text: &str, now: Timestamp) -> Timestamp {
    let notice: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    notice["time"].as_str().and_then(|time| time.parse().ok()).unwrap_or(now)
}

/// Is there an event that is neither over nor called off?
fn is_scheduled(text: &str, now: Timestamp) -> bool {
    let events: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    events.as_array().into_iter().flatten().any(|event| {
        let over = event["NotAfter"].as_str().and_then(http_date).is_some_and(|end| end < now);
        event["State"] == "active" && !over
    })
}

/// For example `21 Jan 2026 09:00:43 GMT`.
fn http_date(text: &str) -> Option<Timestamp> {
    let time = DateTime::strptime("%d %b %Y %H:%M:%S", text.trim_end_matches(" GMT")).ok()?;
    time.in_tz("UTC").ok().map(|zoned| zoned.timestamp())
}

/// When the machine was started, as its identity document tells.
pub(crate) fn pending_time(document: &str) -> Option<Timestamp> {
    let document: serde_json::Value = serde_json::from_str(document).ok()?;
    document["pendingTime"].as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time: &str) -> Timestamp {
        time.parse().unwrap()
    }

    #[test]
    fn notices_read_as_ec2_writes_them() {
        let now = at("2026-11-21T10:00:00Z");
        let notice = r#"{"action":"terminate","time":"2026-11-21T10:02:00Z"}"#;
        assert_eq!(interruption(notice, now), at("2026-11-21T10:02:00Z"));
        for broken in ["", "{}", "not yet", r#"{"time":"soon"}"#] {
            assert_eq!(interruption(broken, now), now, "{broken}");
        }
        let event = |state: &str, after: &str| {
            format!(
                r#"[{{"NotBefore":"21 Nov 2026 09:00:43 GMT","NotAfter":"{after}","Code":"system-reboot",
                "Description":"scheduled reboot","EventId":"instance-event-0d59937288b749b32","State":"{state}"}}]"#
            )
        };
        let cases = [
            ("[]".to_owned(), false),
            (String::new(), false),
            (event("active", "21 Nov 2026 12:00:00 GMT"), true),
            (event("active", "sometime"), true),
            (event("active", "21 Nov 2026 09:30:00 GMT"), false),
            (event("canceled", "21 Nov 2026 12:00:00 GMT"), false),
        ];
        for (text, scheduled) in cases {
            assert_eq!(is_scheduled(&text, now), scheduled, "{text}");
        }
        assert_eq!(pending_time(r#"{"pendingTime":"2026-11-21T10:00:00Z"}"#), Some(now));
        assert_eq!(pending_time("{}"), None);
    }
}
