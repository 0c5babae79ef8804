//! Decides whether a caller may do what it asks, by the policies that moto holds, as AWS does.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use http::HeaderMap;
use jiff::Timestamp;
use serde_json::json;

use super::answer::text_of;
use super::call::{Call, header};
use super::caller::Caller;
use super::needs::{Need, On};
use super::policies::Role;
use super::refusal::Refusal;
use super::{ACCOUNT, Shared, sts};
use crate::iam::context::Context;
use crate::iam::decision::{self, Decision};
use crate::iam::policy::{Policy, Principal, Request};

/// A request with this header counts as plain HTTP (`aws:SecureTransport` false). The lab's own HTTP on loopback
/// stands for TLS.
const PLAIN_HTTP: &str = "x-lab-plain-http";

/// What a permission is about, looked up.
struct Resource {
    arn: String,
    tags: Vec<(String, String)>,
    policy: Option<Policy>,
    /// Nothing is allowed without the resource's policy.
    decides: bool,
}

impl Resource {
    fn plain(arn: String) -> Self {
        Self { arn, tags: Vec::new(), policy: None, decides: false }
    }
}

/// What all permissions of one call have in common.
pub(super) struct Asked<'a> {
    pub shared: &'a Shared,
    pub caller: &'a Caller,
    pub call: &'a Call,
    pub headers: &'a HeaderMap,
    pub now: Timestamp,
}

impl Asked<'_> {
    /// Checks one permission; the resource's ARN when it is there.
    ///
    /// # Errors
    /// A refusal with AWS's message when it is not, or when policies cannot be read.
    pub async fn check(&self, need: &Need) -> Result<String, Refusal> {
        let (resource, role) = self.look_up(need).await.map_err(|error| Refusal::undecided(&error))?;
        let principal = principal(self.caller, &role);
        let context = self.context(need, &resource);
        let request = Request {
            action: &need.action,
            resource: &resource.arn,
            principal: &principal,
            context: &context,
        };
        let everything = [Policy::everything()];
        let policies = decision::Policies {
            identity: if self.caller.role().is_some() { &role.policies } else { &everything },
            boundary: role.boundary.as_ref(),
            resource: resource.policy.as_ref(),
            resource_decides: resource.decides,
        };
        match decision::decide(&request, &policies) {
            Decision::Allowed(by) => {
                if let Some(role) = self.caller.role() {
                    self.shared.used.add(role, by, &need.action);
                }
                Ok(resource.arn)
            }
            Decision::Denied(denial) => Err(Refusal::denied(format!(
                "User: {} is not authorized to perform: {} on resource: {} {}",
                self.caller.arn(),
                need.action,
                resource.arn,
                denial.because(&need.action)
            ))),
        }
    }

    async fn look_up(&self, need: &Need) -> Result<(Resource, Arc<Role>)> {
        let role = match self.caller.role() {
            Some(role) => self.shared.policies.role(role).await?,
            None => Arc::default(),
        };
        Ok((self.resource(&need.on).await?, role))
    }

    async fn resource(&self, on: &On) -> Result<Resource> {
        let (shared, region) = (self.shared, &self.call.region);
        Ok(match on {
            On::Arn(arn) => Resource::plain(arn.clone()),
            On::S3 { bucket, key } => {
                let found = shared.policies.bucket(bucket).await?;
                let arn = match key {
                    Some(key) => format!("arn:aws:s3:::{bucket}/{key}"),
                    None => format!("arn:aws:s3:::{bucket}"),
                };
                Resource { policy: found.and_then(|bucket| bucket.policy.clone()), ..Resource::plain(arn) }
            }
            On::Group(name) => self.group(name).await,
            On::GroupOf(instance) => {
                let asked = [("InstanceIds.member.1", instance.as_str())];
                let found = self.autoscaling("DescribeAutoScalingInstances", &asked).await;
                let name = text_of(&found, "AutoScalingGroupName").unwrap_or_default();
                self.group(&name).await
            }
            On::Key(id) => match shared.policies.key(id, region).await? {
                Some(key) => Resource {
                    policy: Some(key.policy.clone()),
                    decides: true,
                    ..Resource::plain(key.arn.clone())
                },
                None => Resource::plain(format!("arn:aws:kms:{region}:{ACCOUNT}:key/{id}")),
            },
            On::Secret(id) => {
                let asked = json!({"SecretId": id});
                let found = shared
                    .upstream
                    .json("secretsmanager", region, "secretsmanager.DescribeSecret", &asked)
                    .await;
                let arn = found.ok().and_then(|secret| Some(secret["ARN"].as_str()?.to_owned()));
                Resource::plain(
                    arn.unwrap_or_else(|| format!("arn:aws:secretsmanager:{region}:{ACCOUNT}:secret:{id}")),
                )
            }
            On::Stack(name) => {
                let asked = [("Action", "DescribeStacks"), ("Version", "2010-05-15"), ("StackName", name)];
                let found = shared.upstream.query("cloudformation", region, &asked).await.unwrap_or_default();
                let stack = &found["DescribeStacksResponse"]["DescribeStacksResult"]["Stacks"][0]["StackId"];
                let arn = stack.as_str().map(str::to_owned);
                Resource::plain(
                    arn.unwrap_or_else(|| {
                        format!("arn:aws:cloudformation:{region}:{ACCOUNT}:stack/{name}/*")
                    }),
                )
            }
            On::RoleTrust(role) => {
                let name = sts::role_name(role).unwrap_or(role);
                let found = shared.policies.role(name).await?;
                Resource { policy: found.trust.clone(), decides: true, ..Resource::plain(role.clone()) }
            }
        })
    }

    /// A group's ARN and tags, from its keeper or from moto. One that is not there has a name in its ARN all the same.
    async fn group(&self, name: &str) -> Resource {
        let asked = [("AutoScalingGroupNames.member.1", name)];
        let found = self.autoscaling("DescribeAutoScalingGroups", &asked).await;
        let arn = text_of(&found, "AutoScalingGroupARN").unwrap_or_else(|| {
            let region = &self.call.region;
            format!("arn:aws:autoscaling:{region}:{ACCOUNT}:autoScalingGroup:*:autoScalingGroupName/{name}")
        });
        let tags = found
            .split_once("<Tags>")
            .and_then(|(_, after)| after.split_once("</Tags>"))
            .map(|(tags, _)| {
                tags.split("</member>")
                    .filter_map(|tag| Some((text_of(tag, "Key")?, text_of(tag, "Value")?)))
                    .collect()
            })
            .unwrap_or_default();
        Resource { tags, ..Resource::plain(arn) }
    }

    /// An Auto Scaling answer as XML; empty when there is none.
    async fn autoscaling(&self, action: &str, params: &[(&str, &str)]) -> String {
        let mut form: BTreeMap<String, String> =
            params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        form.insert("Action".into(), action.into());
        form.insert("Version".into(), "2011-01-01".into());
        if let Some(keeper) = self.shared.keeper()
            && let Some(answer) = keeper.handle(action, &form, &Caller::Admin).await
        {
            return String::from_utf8_lossy(&answer.body).into_owned();
        }
        let asked = self.shared.upstream.xml("autoscaling", &self.call.region, &form).await;
        asked.unwrap_or_default()
    }

    /// The condition keys: those of every request, of the call and of the resource.
    fn context(&self, need: &Need, resource: &Resource) -> Context {
        let mut context = need.context.clone();
        let plain = self.headers.contains_key(PLAIN_HTTP);
        context.set("aws:SecureTransport", (!plain).to_string());
        context.set("aws:SourceIp", "127.0.0.1");
        context.set("aws:CurrentTime", self.now.to_string());
        context.set("aws:EpochTime", self.now.as_second().to_string());
        context.set("aws:RequestedRegion", &self.call.region);
        context.set("aws:PrincipalAccount", ACCOUNT);
        context.set("aws:ResourceAccount", ACCOUNT);
        context.set("aws:userid", self.caller.unique_id());
        context.set_some("aws:UserAgent", header(self.headers, "user-agent"));
        context.set("aws:ViaAWSService", "false");
        match self.caller {
            Caller::Admin => {
                context.set("aws:PrincipalType", "User");
                context.set("aws:PrincipalArn", self.caller.arn());
                context.set("aws:username", "lab");
            }
            Caller::Role { role, .. } => {
                context.set("aws:PrincipalType", "AssumedRole");
                context.set("aws:PrincipalArn", format!("arn:aws:iam::{ACCOUNT}:role/{role}"));
            }
        }
        if need.action.starts_with("kms:") {
            context.set("kms:CallerAccount", ACCOUNT);
        }
        for (key, value) in &resource.tags {
            context.set(&format!("aws:ResourceTag/{key}"), value);
            context.set(&format!("{}:ResourceTag/{key}", self.call.service), value);
        }
        context
    }
}

fn principal(caller: &Caller, role: &Role) -> Principal {
    Principal {
        account: ACCOUNT.into(),
        arn: caller.arn(),
        role_arn: caller.role().map(|name| {
            if role.arn.is_empty() { format!("arn:aws:iam::{ACCOUNT}:role/{name}") } else { role.arn.clone() }
        }),
    }
}
