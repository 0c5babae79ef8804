//! Which text lies at which path. Pure; credentials are the server's matter, since they are made on demand.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use jiff::Timestamp;
use serde_json::json;

/// What never changes while an instance lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// `i-…`.
    pub instance_id: String,
    /// Twelve digits.
    pub account: String,
    /// Region.
    pub region: String,
    /// Availability zone.
    pub zone: String,
    /// Instance type.
    pub instance_type: String,
    /// AMI id.
    pub image: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// Instance tags (the template allows tags in metadata).
    pub tags: BTreeMap<String, String>,
    /// Decoded.
    pub user_data: Vec<u8>,
    /// Name of the instance profile's role.
    pub role: Option<String>,
    /// When it was launched.
    pub launched: Timestamp,
    /// Is it a spot instance?
    pub spot: bool,
}

/// EC2 will take a spot instance back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpotNotice {
    /// `terminate`, `stop` or `hibernate`.
    pub action: String,
    /// When.
    pub time: Timestamp,
}

/// What comes and goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notices {
    /// `InService`, `Terminated`; absent until the group has told.
    pub target_state: Option<&'static str>,
    /// Spot interruption.
    pub spot: Option<SpotNotice>,
    /// Rebalance recommendation, since when.
    pub rebalance: Option<Timestamp>,
    /// Scheduled maintenance, as JSON text.
    pub maintenance: Option<String>,
    /// When it was started again, out of the warm pool.
    pub restarted: Option<Timestamp>,
}

/// The bytes at `path` below `/latest/`, or `None` (404). A trailing slash makes no difference.
#[must_use]
pub fn find(facts: &Facts, notices: &Notices, path: &str) -> Option<Vec<u8>> {
    let path = path.trim_end_matches('/');
    if path == "user-data" {
        return (!facts.user_data.is_empty()).then(|| facts.user_data.clone());
    }
    let text = match path {
        "dynamic/instance-identity/document" => Some(identity(facts, notices)),
        _ => metadata(facts, notices, path.strip_prefix("meta-data/")?),
    };
    text.map(String::into_bytes)
}

fn metadata(facts: &Facts, notices: &Notices, path: &str) -> Option<String> {
    let text = match path {
        "instance-id" => facts.instance_id.clone(),
        "instance-type" => facts.instance_type.clone(),
        "ami-id" => facts.image.clone(),
        "local-ipv4" => facts.address.to_string(),
        "local-hostname" | "hostname" => format!("ip-{}", facts.address.to_string().replace('.', "-")),
        "placement/availability-zone" => facts.zone.clone(),
        "placement/region" => facts.region.clone(),
        "instance-life-cycle" => if facts.spot { "spot" } else { "on-demand" }.to_owned(),
        "services/domain" => "amazonaws.com".to_owned(),
        "services/partition" => "aws".to_owned(),
        "tags/instance" => facts.tags.keys().map(String::as_str).collect::<Vec<_>>().join("\n"),
        "iam/security-credentials" => facts.role.clone()?,
        "autoscaling/target-lifecycle-state" => notices.target_state?.to_owned(),
        "spot/instance-action" => {
            let notice = notices.spot.as_ref()?;
            json!({"action": notice.action, "time": format!("{:.0}", notice.time)}).to_string()
        }
        "spot/termination-time" => format!("{:.0}", notices.spot.as_ref()?.time),
        "events/recommendations/rebalance" => {
            json!({"noticeTime": format!("{:.0}", notices.rebalance?)}).to_string()
        }
        "events/maintenance/scheduled" => notices.maintenance.clone()?,
        other => facts.tags.get(other.strip_prefix("tags/instance/")?)?.clone(),
    };
    Some(text)
}

fn identity(facts: &Facts, notices: &Notices) -> String {
    json!({
        "accountId": facts.account,
        "architecture": "x86_64",
        "availabilityZone": facts.zone,
        "imageId": facts.image,
        "instanceId": facts.instance_id,
        "instanceType": facts.instance_type,
        "pendingTime": format!("{:.0}", notices.restarted.unwrap_or(facts.launched)),
        "privateIp": facts.address.to_string(),
        "region": facts.region,
        "version": "2017-09-30",
    })
    .to_string()
}
