//! What was observed becomes a check with a fix line. Pure: no clock, no network.

use agent_api::client::ApiError;
use aws::{CallError, Fault};
use jiff::Timestamp;

use super::observe::{Caller, ClockAnswer, Key, ReadObject, Room};
use super::programs::DockerAnswer;
use super::report::Check;

/// Who this instance is to AWS.
#[must_use]
pub fn identity(seen: Result<Caller, CallError>) -> Check {
    match seen {
        Ok(caller) => Check::ok("identity", format!("{} in {}", caller.arn, caller.region)),
        Err(error) => {
            let fix = match error.fault {
                Fault::Denied | Fault::DeniedByKey => {
                    "give the instance its role (instance profile), or set AWS credentials that are valid"
                }
                Fault::Invalid => "set AWS_REGION, or make the metadata service reachable",
                _ => "check the way to AWS: route, DNS, VPC endpoint of sts, AWS_ENDPOINT_URL",
            };
            Check::fail("identity", error.to_string(), fix)
        }
    }
}

/// May the secrets bucket be listed? Only then does "not found" mean "absent".
#[must_use]
pub fn bucket(name: Option<&str>, seen: Result<(), CallError>) -> Check {
    let Some(name) = name else {
        return Check::warn(
            "bucket",
            "no secrets bucket is configured: jobs get no secrets",
            "set BUILDKITE_PLUGIN_S3_SECRETS_BUCKET (the stack does) if they should",
        );
    };
    let Err(error) = seen else { return Check::ok("bucket", format!("s3://{name} can be listed")) };
    if let Some(region) = &error.bucket_region {
        return Check::fail(
            "bucket",
            error.to_string(),
            format!("the bucket lies in {region}: set BUILDKITE_PLUGIN_S3_SECRETS_REGION={region}"),
        );
    }
    let fix = match error.fault {
        Fault::Absent => "create the bucket, or correct BUILDKITE_PLUGIN_S3_SECRETS_BUCKET",
        Fault::Denied | Fault::DeniedByKey => {
            "let the role call s3:ListBucket on the bucket: without it a missing secret looks like a refused one"
        }
        _ => "check the way to S3 (route, gateway endpoint) and try again",
    };
    Check::fail("bucket", error.to_string(), fix)
}

/// Is there such a KMS key, and which one does an alias mean?
#[must_use]
pub fn key(name: Option<&str>, seen: Result<Key, CallError>) -> Check {
    let Some(name) = name else {
        return Check::ok(
            "kms",
            "no key is prescribed: secrets may lie under aws/s3 or the bucket's default key",
        );
    };
    match seen {
        Ok(key) if key.usable => Check::ok("kms", format!("{name} is {}", key.arn)),
        Ok(key) => Check::fail(
            "kms",
            format!("{} is {}", key.arn, key.state),
            "enable the key (aws kms enable-key, or cancel-key-deletion): until then no secret can be read",
        ),
        Err(error) if error.fault == Fault::Absent => Check::fail(
            "kms",
            error.to_string(),
            "correct SECRETS_KMS_KEY: a key's ARN, or alias/name in this region",
        ),
        // The role needs no right to describe the key: reading secrets is what counts, and the next check tries it.
        Err(error) if matches!(error.fault, Fault::Denied | Fault::DeniedByKey) => Check::warn(
            "kms",
            error.to_string(),
            "let the role call kms:DescribeKey to have this checked; the line below tells whether it may decrypt",
        ),
        Err(error) => Check::warn("kms", error.to_string(), "check the way to KMS and try again"),
    }
}

/// May this role decrypt what lies in the bucket?
#[must_use]
pub fn decrypt(bucket: Option<&str>, seen: Result<ReadObject, CallError>) -> Check {
    let Some(bucket) = bucket else { return Check::ok("decrypt", "nothing to decrypt without a bucket") };
    match seen {
        Ok(ReadObject::Read { key, encryption }) => {
            Check::ok("decrypt", format!("s3://{bucket}/{key} can be read ({encryption})"))
        }
        Ok(ReadObject::NothingThere) => Check::warn(
            "decrypt",
            format!("s3://{bucket} holds no object yet: nothing to try"),
            format!("upload a secret (aws s3 cp env s3://{bucket}/env --sse aws:kms) and ask again"),
        ),
        Err(error) if error.fault == Fault::DeniedByKey => Check::fail(
            "decrypt",
            error.to_string(),
            "let the role call kms:Decrypt on that key, in its own policy and in the key's policy",
        ),
        Err(error) if error.fault == Fault::Denied => Check::fail(
            "decrypt",
            error.to_string(),
            "let the role call s3:GetObject on the bucket's objects",
        ),
        Err(error) => Check::fail("decrypt", error.to_string(), "see the line `bucket` above"),
    }
}

/// Does the CI answer, and does it take the agents' token?
#[must_use]
pub fn ci(endpoint: Option<&str>, queue: Option<&str>, seen: Result<(), ApiError>) -> Check {
    let Some(endpoint) = endpoint else {
        return Check::fail(
            "ci",
            "no agent endpoint or token is known here",
            "run agent-bootstrap boot, or set BUILDKITE_AGENT_ENDPOINT and BUILDKITE_AGENT_TOKEN",
        );
    };
    match seen {
        Ok(()) => {
            Check::ok("ci", format!("{endpoint} takes the token (queue {})", queue.unwrap_or("default")))
        }
        Err(error @ ApiError::Unauthorized { .. }) => Check::fail(
            "ci",
            format!("{endpoint}: {error}"),
            "put the valid agent token into the stack's secret, then run agent-bootstrap boot again",
        ),
        Err(error @ ApiError::Throttled { .. }) => {
            Check::warn("ci", format!("{endpoint}: {error}"), "ask again later")
        }
        Err(error) => Check::fail(
            "ci",
            format!("{endpoint}: {error}"),
            "check BUILDKITE_AGENT_ENDPOINT, DNS, the outgoing security group and the proxy",
        ),
    }
}

/// Does Docker work for the user that asks?
#[must_use]
pub fn docker(seen: DockerAnswer) -> Check {
    match seen {
        DockerAnswer::Version(version) => Check::ok("docker", format!("engine {version}")),
        DockerAnswer::NoProgram => {
            Check::warn("docker", "no program `docker`", "install docker if this queue's jobs use it")
        }
        DockerAnswer::Failed(why) => Check::fail(
            "docker",
            why,
            "start the engine (systemctl start docker) and put the agents' user into the group docker",
        ),
    }
}

/// Would `sudo docker` find the credential helper?
#[must_use]
pub fn helper(found: Option<std::path::PathBuf>) -> Check {
    match found {
        Some(path) => Check::ok("helper", path.display().to_string()),
        None => Check::warn(
            "helper",
            "docker-credential-tidemark is on no folder of PATH; inside jobs it is",
            "link it to agent-bootstrap in /usr/bin, so that `sudo docker pull` finds ECR logins too",
        ),
    }
}

/// Beneath this, jobs fail in the middle: the numbers of the stack's own disk check.
const LEAST_BYTES: u64 = 5 << 30;
const LEAST_INODES: u64 = 250_000;

/// Is there room for jobs?
#[must_use]
pub fn disk(path: &std::path::Path, seen: Result<&Room, &String>) -> Check {
    let path = path.display();
    let room = match seen {
        Ok(room) => room,
        Err(fault) => {
            return Check::warn("disk", format!("{path}: {fault}"), "look whether the disk is mounted");
        }
    };
    // Some file systems make inodes as they go and report none.
    let inodes = room.inodes.map_or_else(|| "inodes unlimited".to_owned(), |n| format!("{n} inodes"));
    let found = format!("{path}: {:.1} GiB and {inodes} free", gib(room.bytes));
    let fewest = room.inodes.unwrap_or(u64::MAX);
    let fix = "remove old images and builds (docker system prune --all), or give the instance a larger disk";
    if room.bytes < LEAST_BYTES || fewest < LEAST_INODES {
        return Check::fail("disk", found, fix);
    }
    if room.bytes < 2 * LEAST_BYTES || fewest < 2 * LEAST_INODES {
        return Check::warn("disk", found, fix);
    }
    Check::ok("disk", found)
}

#[expect(clippy::cast_precision_loss, reason = "one decimal place is shown")]
fn gib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}

/// AWS refuses signatures that are five minutes off; certificates and logs suffer earlier.
const WORST_SKEW: i64 = 300;
const NOTABLE_SKEW: i64 = 30;

/// Does this machine's clock agree with AWS's?
#[must_use]
pub fn clock(seen: Result<ClockAnswer, String>, now: Timestamp) -> Check {
    let answer = match seen {
        Ok(answer) => answer,
        Err(fault) => {
            return Check::warn(
                "clock",
                format!("{now:.0}, with nothing to compare: {fault}"),
                "see `identity` above",
            );
        }
    };
    let skew = answer.here.duration_since(answer.there).as_secs();
    let found = format!("{} s {} {}", skew.abs(), if skew < 0 { "behind" } else { "ahead of" }, answer.of);
    let fix = "let chrony or systemd-timesyncd set the clock (on AWS from 169.254.169.123)";
    match skew.abs() {
        WORST_SKEW.. => Check::fail("clock", found, fix),
        NOTABLE_SKEW.. => Check::warn("clock", found, fix),
        _ => Check::ok("clock", found),
    }
}

#[cfg(test)]
mod tests;
