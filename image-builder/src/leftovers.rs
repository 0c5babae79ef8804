//! What a Packer that was killed left behind: an instance, a key pair, a security group, an image that nobody heard of. They
//! are known by the ids and names that it told while it ran, and taken away in whatever region they are. A template's
//! provisioner can print any id, so nothing is touched that is older than the build.

use std::time::Duration;

use aws::ec2::{Client, Element};
use aws::{CallError, Fault, Session};
use jiff::{SignedDuration, Timestamp};

use crate::packer::output::Temporary;
use crate::problem::Problem;

/// An instance is gone after so long, or something is wrong.
const GONE_PATIENCE: Duration = Duration::from_mins(5);

/// From one look to the next.
const LOOK: Duration = Duration::from_secs(2);

/// Clocks of this machine and of AWS may differ by so much.
const SKEW: SignedDuration = SignedDuration::from_mins(5);

/// Takes all of it away that was made after `since`; what is gone already is no fault. Returns what was there, in words.
///
/// # Errors
/// EC2 does not answer, or refuses; what is not reached stays known and is tried again with the next attempt.
pub async fn remove(
    session: &Session,
    temporary: &Temporary,
    since: Timestamp,
) -> Result<Vec<String>, Problem> {
    let mut removed = Vec::new();
    if temporary.is_empty() {
        return Ok(removed);
    }
    for region in regions(session).await? {
        let client = session.in_region(&region).ec2();
        let place = Place { client, region: &region, since: since.saturating_sub(SKEW).unwrap_or(since) };
        place.remove(temporary, &mut removed).await?;
    }
    Ok(removed)
}

/// One region.
struct Place<'a> {
    client: Client,
    region: &'a str,
    since: Timestamp,
}

impl Place<'_> {
    async fn remove(&self, temporary: &Temporary, removed: &mut Vec<String>) -> Result<(), Problem> {
        for id in &temporary.images {
            self.remove_image(id, removed).await?;
        }
        let mut ended = Vec::new();
        for id in &temporary.instances {
            if self.is_ours_and_runs(id).await? {
                self.call("TerminateInstances", "ec2:TerminateInstances", id, &[("InstanceId.1", id)])
                    .await?;
                removed.push(format!("instance {id} in {}", self.region));
                ended.push(id);
            }
        }
        // A security group goes only after the instances in it.
        let deadline = tokio::time::Instant::now() + GONE_PATIENCE;
        for id in ended {
            while self.is_ours_and_runs(id).await? {
                if tokio::time::Instant::now() > deadline {
                    let region = self.region;
                    return Err(Problem::new(
                        75,
                        format!("leftovers: instance {id} in {region} does not end"),
                    ));
                }
                tokio::time::sleep(LOOK).await;
            }
        }
        for name in &temporary.key_pairs {
            let found = self.find("DescribeKeyPairs", "ec2:DescribeKeyPairs", "key-name", name).await?;
            if found.items("keySet").next().is_some() {
                self.call("DeleteKeyPair", "ec2:DeleteKeyPair", name, &[("KeyName", name)]).await?;
                removed.push(format!("key pair {name} in {}", self.region));
            }
        }
        for name in &temporary.security_groups {
            let found =
                self.find("DescribeSecurityGroups", "ec2:DescribeSecurityGroups", "group-name", name).await?;
            for group in found.items("securityGroupInfo") {
                let id = group.text_of("groupId");
                self.call("DeleteSecurityGroup", "ec2:DeleteSecurityGroup", id, &[("GroupId", id)]).await?;
                removed.push(format!("security group {name} in {}", self.region));
            }
        }
        Ok(())
    }

    /// An image with its snapshots.
    async fn remove_image(&self, id: &str, removed: &mut Vec<String>) -> Result<(), Problem> {
        let found = self.find("DescribeImages", "ec2:DescribeImages", "image-id", id).await?;
        for image in
            found.items("imagesSet").filter(|image| is_young(image.text_of("creationDate"), self.since))
        {
            self.call("DeregisterImage", "ec2:DeregisterImage", id, &[("ImageId", id)]).await?;
            for device in image.items("blockDeviceMapping") {
                let snapshot = device.child("ebs").text_of("snapshotId");
                if !snapshot.is_empty() {
                    self.call("DeleteSnapshot", "ec2:DeleteSnapshot", snapshot, &[("SnapshotId", snapshot)])
                        .await?;
                }
            }
            removed.push(format!("image {id} in {}", self.region));
        }
        Ok(())
    }

    async fn is_ours_and_runs(&self, id: &str) -> Result<bool, Problem> {
        let answer = self.find("DescribeInstances", "ec2:DescribeInstances", "instance-id", id).await?;
        let mut instances =
            answer.items("reservationSet").flat_map(|reservation| reservation.items("instancesSet"));
        Ok(instances.any(|instance| {
            instance.child("instanceState").text_of("name") != "terminated"
                && is_young(instance.text_of("launchTime"), self.since)
        }))
    }

    async fn find(
        &self,
        action: &'static str,
        permission: &'static str,
        filter: &str,
        value: &str,
    ) -> Result<Element, Problem> {
        self.call(action, permission, value, &[("Filter.1.Name", filter), ("Filter.1.Value.1", value)]).await
    }

    async fn call(
        &self,
        action: &'static str,
        permission: &'static str,
        object: &str,
        parameters: &[(&str, &str)],
    ) -> Result<Element, Problem> {
        call(&self.client, action, permission, object, parameters).await
    }
}

/// Pure: was this made since then? What has no time that can be read is left alone.
fn is_young(made: &str, since: Timestamp) -> bool {
    made.parse::<Timestamp>().is_ok_and(|made| made >= since)
}

/// The session's own region first: what is looked for is there nearly always.
async fn regions(session: &Session) -> Result<Vec<String>, Problem> {
    let own = session.region().to_owned();
    let answer = call(&session.ec2(), "DescribeRegions", "ec2:DescribeRegions", "*", &[]).await?;
    let names = answer.items("regionInfo").map(|region| region.text_of("regionName").to_owned());
    let others: Vec<String> = names.filter(|name| *name != own).collect();
    Ok(std::iter::once(own).chain(others).collect())
}

async fn call(
    client: &Client,
    action: &'static str,
    permission: &'static str,
    object: &str,
    parameters: &[(&str, &str)],
) -> Result<Element, Problem> {
    let parameters = parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    match client.call(action, parameters.collect()).await {
        Ok(answer) => Ok(answer),
        Err(failure) => match CallError::new(&failure, permission, object) {
            error if error.fault == Fault::Absent => Ok(Element::default()),
            error => Err(Problem::of_call("leftovers", &error)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_the_build_is_nobodys_leftover() {
        let since = "2026-01-02T03:04:05Z".parse().unwrap();
        for (made, young) in [
            ("2026-01-02T03:04:05.000Z", true),
            ("2026-01-02T03:04:06Z", true),
            ("2026-01-02T03:04:04.999Z", false),
            ("2025-12-31T23:59:59.000Z", false),
            ("", false),
            ("yesterday", false),
        ] {
            assert_eq!(is_young(made, since), young, "{made}");
        }
    }
}
