//! Stacks: deploys the real template through CloudFormation, as a user's `aws cloudformation` would, and takes over
//! what it made: groups, lifecycle hooks, schedules. Policies need no taking over: the endpoint reads them from moto.

mod takeover;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use aws::CallError;
use aws::cloudformation::types::{Capability, Parameter, Stack as Described, Tag};

use crate::function_url::FunctionUrls;
use crate::group::service::Groups;
use crate::readback::Readback;
use crate::schedule::Schedules;

/// Where the template looks for its AMI.
pub const IMAGE_PARAMETER: &str = "/tidemark/ami/debian13/amd64";
/// What it finds there where instances are processes, which boot no image.
pub(crate) const NO_IMAGE: &str = "ami-0123456789abcdef0";
/// The bucket for Lambda code, and its key.
const CODE_BUCKET: &str = "tidemark-lab-code";
const CODE_KEY: &str = "latest/scaler.zip";
/// The queue of stacks that name none.
const QUEUE: &str = "default";
/// A zip archive without entries. The lab runs the program of its own build, not the uploaded one.
const EMPTY_ZIP: [u8; 22] = [b'P', b'K', 5, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// How long a stack may take; moto needs a second.
const PATIENCE: Duration = Duration::from_secs(60);

/// What to deploy.
#[derive(Debug, Clone)]
pub struct StackOrder {
    /// Name.
    pub name: String,
    /// The template's file.
    pub template: PathBuf,
    /// Parameters; `BuildkiteQueue`, `ScalerCodeBucket` and `ScalerCodeKey` are given by the lab where they are not.
    pub parameters: BTreeMap<String, String>,
    /// The stack's own tags, which its groups get too.
    pub tags: BTreeMap<String, String>,
}

/// A deployed stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stack {
    /// Name.
    pub name: String,
    /// Its outputs.
    pub outputs: BTreeMap<String, String>,
    /// Physical ids by logical ids.
    pub resources: BTreeMap<String, String>,
}

impl Stack {
    /// An output.
    ///
    /// # Errors
    /// The template has no such output.
    pub fn output(&self, name: &str) -> Result<&str> {
        self.outputs
            .get(name)
            .map(String::as_str)
            .with_context(|| format!("stack {}: no output {name}", self.name))
    }
}

/// Deploys stacks.
pub struct Stacks {
    session: aws::Session,
    readback: Readback,
    groups: Arc<Groups>,
    schedules: Arc<Schedules>,
    urls: Arc<FunctionUrls>,
}

impl Stacks {
    /// Calls go through `session` (the endpoint, as the lab's user), reads past it.
    pub fn new(
        session: aws::Session,
        readback: Readback,
        groups: Arc<Groups>,
        schedules: Arc<Schedules>,
        urls: Arc<FunctionUrls>,
    ) -> Self {
        Self { session, readback, groups, schedules, urls }
    }

    /// What every account of a user has before a stack: the parameter with this AMI, the bucket with the scaler's code.
    ///
    /// # Errors
    /// The endpoint refuses.
    pub async fn prepare(&self, ami: &str) -> Result<()> {
        self.use_image(ami).await?;
        let s3 = self.session.s3();
        let bucket = s3.create_bucket().bucket(CODE_BUCKET).send().await;
        bucket.map_err(|e| CallError::new(&e, "s3:CreateBucket", CODE_BUCKET))?;
        let code = s3.put_object().bucket(CODE_BUCKET).key(CODE_KEY).body(EMPTY_ZIP.to_vec().into());
        code.send().await.map_err(|e| CallError::new(&e, "s3:PutObject", CODE_BUCKET))?;
        Ok(())
    }

    /// Records the AMI of new stacks, as `make build-ami` does.
    ///
    /// # Errors
    /// The endpoint refuses.
    pub async fn use_image(&self, ami: &str) -> Result<()> {
        let ssm = self.session.ssm();
        let put =
            ssm.put_parameter().name(IMAGE_PARAMETER).value(ami).r#type("String".into()).overwrite(true);
        put.send().await.map_err(|e| CallError::new(&e, "ssm:PutParameter", IMAGE_PARAMETER))?;
        Ok(())
    }

    /// Creates or updates a stack, and waits until it is whole.
    ///
    /// # Errors
    /// The template cannot be read, or CloudFormation refuses or rolls back, with its reason.
    pub async fn deploy(&self, order: &StackOrder) -> Result<Stack> {
        let body = std::fs::read_to_string(&order.template)
            .with_context(|| format!("read of the template {}", order.template.display()))?;
        let parameters = parameters(&order.parameters);
        let client = self.session.cloudformation();
        let caps = [Capability::CapabilityIam, Capability::CapabilityNamedIam];
        if self.describe(&order.name).await?.is_some() {
            let update = client.update_stack().stack_name(&order.name).template_body(body);
            let update = update.set_parameters(Some(parameters)).set_capabilities(Some(caps.to_vec()));
            let update = update.set_tags(tags(&order.tags));
            update.send().await.map_err(|e| CallError::new(&e, "cloudformation:UpdateStack", &order.name))?;
        } else {
            let create = client.create_stack().stack_name(&order.name).template_body(body);
            let create = create.set_parameters(Some(parameters)).set_capabilities(Some(caps.to_vec()));
            let create = create.set_tags(tags(&order.tags));
            create.send().await.map_err(|e| CallError::new(&e, "cloudformation:CreateStack", &order.name))?;
        }
        let stack = self.complete(&order.name).await?;
        self.take_over().await?;
        Ok(stack)
    }

    /// Deletes a stack; its instances end with it.
    ///
    /// # Errors
    /// CloudFormation refuses.
    pub async fn delete(&self, name: &str) -> Result<()> {
        let delete = self.session.cloudformation().delete_stack().stack_name(name).send().await;
        delete.map_err(|e| CallError::new(&e, "cloudformation:DeleteStack", name))?;
        self.take_over().await
    }

    /// The stack as CloudFormation has it; none when there is none.
    ///
    /// # Errors
    /// CloudFormation does not answer.
    pub async fn describe(&self, name: &str) -> Result<Option<Described>> {
        match self.session.cloudformation().describe_stacks().stack_name(name).send().await {
            Ok(answer) => Ok(answer.stacks().first().cloned()),
            Err(error) => {
                let error = CallError::new(&error, "cloudformation:DescribeStacks", name);
                // CloudFormation has no own code for it.
                if error.detail.contains("does not exist") { Ok(None) } else { Err(error.into()) }
            }
        }
    }

    /// Waits for the end of a creation or an update.
    async fn complete(&self, name: &str) -> Result<Stack> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let stack = self.describe(name).await?.with_context(|| format!("stack {name} is gone"))?;
            let status = stack.stack_status().map_or("", |s| s.as_str());
            match status {
                "CREATE_COMPLETE" | "UPDATE_COMPLETE" => return self.read(&stack).await,
                _ if status.ends_with("IN_PROGRESS") && tokio::time::Instant::now() < deadline => {}
                _ => bail!(
                    "stack {name}: {status}: {}",
                    stack.stack_status_reason().unwrap_or("no reason given")
                ),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn read(&self, stack: &Described) -> Result<Stack> {
        let name = stack.stack_name().unwrap_or_default();
        let outputs = stack.outputs().iter();
        let outputs =
            outputs.filter_map(|o| Some((o.output_key()?.to_owned(), o.output_value()?.to_owned())));
        let resources = self.session.cloudformation().list_stack_resources().stack_name(name).send().await;
        let resources =
            resources.map_err(|e| CallError::new(&e, "cloudformation:ListStackResources", name))?;
        let resources = resources.stack_resource_summaries().iter();
        let resources = resources.filter_map(|r| {
            Some((r.logical_resource_id()?.to_owned(), r.physical_resource_id()?.to_owned()))
        });
        Ok(Stack { name: name.to_owned(), outputs: outputs.collect(), resources: resources.collect() })
    }
}

/// None leaves those of an update as they are.
fn tags(tags: &BTreeMap<String, String>) -> Option<Vec<Tag>> {
    let tag = |(key, value): (&String, &String)| Tag::builder().key(key).value(value).build();
    (!tags.is_empty()).then(|| tags.iter().map(tag).collect())
}

fn parameters(given: &BTreeMap<String, String>) -> Vec<Parameter> {
    let own = [("BuildkiteQueue", QUEUE), ("ScalerCodeBucket", CODE_BUCKET), ("ScalerCodeKey", CODE_KEY)];
    let own = own.into_iter().filter(|(name, _)| !given.contains_key(*name));
    let all = given.iter().map(|(k, v)| (k.as_str(), v.as_str())).chain(own);
    all.map(|(k, v)| Parameter::builder().parameter_key(k).parameter_value(v).build()).collect()
}

/// The project's template: `cloudformation/ci-stack.yml` beside `start` or above it.
///
/// # Errors
/// There is none.
pub fn template(start: &Path) -> Result<PathBuf> {
    let found = start.ancestors().map(|f| f.join("cloudformation/ci-stack.yml")).find(|f| f.is_file());
    found.with_context(|| format!("no cloudformation/ci-stack.yml at or above {}", start.display()))
}
