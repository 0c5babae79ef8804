//! Where a function's log goes. moto forgets `LoggingConfig`, so it is read in the template's text.

use anyhow::Result;
use aws::CallError;

use super::Readback;

impl Readback {
    /// The log group that a function's template names for it.
    pub(super) async fn log_group_of(&self, function: &str) -> Result<Option<String>> {
        let client = self.session.cloudformation();
        let stacks = client.describe_stacks().send().await;
        let stacks = stacks.map_err(|e| CallError::new(&e, "cloudformation:DescribeStacks", "all stacks"))?;
        for stack in stacks.stacks().iter().filter_map(|stack| stack.stack_name()) {
            let resources = client.list_stack_resources().stack_name(stack).send().await;
            let resources =
                resources.map_err(|e| CallError::new(&e, "cloudformation:ListStackResources", stack))?;
            let resources = resources.stack_resource_summaries();
            let own = resources.iter().find(|r| r.physical_resource_id() == Some(function));
            let Some(own) = own.and_then(|r| r.logical_resource_id()) else { continue };
            let template = client.get_template().stack_name(stack).send().await;
            let template = template.map_err(|e| CallError::new(&e, "cloudformation:GetTemplate", stack))?;
            let Some(group) = log_group(template.template_body().unwrap_or_default(), own) else { continue };
            let group = resources.iter().find(|r| r.logical_resource_id() == Some(group));
            return Ok(group.and_then(|r| r.physical_resource_id()).map(str::to_owned));
        }
        Ok(None)
    }
}

/// The logical id in `LoggingConfig: { LogGroup: !Ref … }` of a resource.
fn log_group<'a>(template: &'a str, function: &str) -> Option<&'a str> {
    let head = format!("  {function}:");
    let of_function = template.lines().skip_while(|line| line.trim_end() != head).skip(1);
    let of_function = of_function.take_while(|line| line.is_empty() || line.starts_with("   "));
    let named = |line: &'a str| line.trim().strip_prefix("LoggingConfig: { LogGroup: !Ref ");
    of_function.filter_map(named).find_map(|rest| rest.strip_suffix(" }"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_of_a_function_is_found_in_the_projects_template() {
        let template = include_str!("../../../cloudformation/ci-stack.yml");
        assert_eq!(log_group(template, "Scaler"), Some("ScalerLogs"));
        assert_eq!(log_group(template, "ScalerRole"), None);
        assert_eq!(log_group(template, "Nobody"), None);
    }
}
