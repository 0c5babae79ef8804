//! Docker registries: per-job configuration, ECR tokens, the credential helper.

use crate::failure::Failure;
use crate::layout::Layout;

/// Answers Docker's credential helper protocol on stdin and stdout.
pub async fn run(_layout: &Layout, _operation: &str) -> Result<(), Failure> {
    Err(Failure::failed("docker-credential: not built yet"))
}

/// What the environment hook exports for Docker.
#[derive(Debug, Default)]
pub struct Exports(pub Vec<(String, String)>);

/// Environment hook: makes the job's private `DOCKER_CONFIG`. `environment` is the job's environment with the
/// variables of its env files already applied.
pub async fn prepare(
    _layout: &Layout,
    _job_id: &str,
    _environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Exports, Failure> {
    Ok(Exports::default())
}

/// Pre-command hook: checks the registry login (`DOCKER_LOGIN_*`) and keeps it for the credential helper.
pub async fn pre_command(
    _layout: &Layout,
    _job_id: &str,
    _environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Exports, Failure> {
    Ok(Exports::default())
}
