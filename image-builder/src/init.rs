//! `config init`: kiln's configuration file, made from five answers.

use std::path::Path;

use clap::Args;

use crate::audit::emitter::{Node, emit};
use crate::config::Config;
use crate::problem::Problem;

/// kiln's flags.
#[derive(Debug, Clone, Args)]
pub struct InitOptions {
    /// Region of the queue, the bucket and the builds
    #[arg(long = "awsRegion", alias = "aws-region", value_name = "REGION")]
    region: String,
    /// URL of the repository of Packer templates
    #[arg(long = "templatesRepo", alias = "templates-repo", value_name = "URL")]
    repository: String,
    /// Bucket for audits
    #[arg(long = "auditTrailBucket", alias = "audit-trail-bucket", value_name = "BUCKET")]
    bucket: String,
    /// URL of the queue of build requests
    #[arg(long = "buildRequestQueue", alias = "build-request-queue", value_name = "URL")]
    queue: String,
    /// Profile of the AWS CLI; the instance's role without it
    #[arg(long = "awsCliProfile", alias = "aws-cli-profile", value_name = "PROFILE")]
    profile: Option<String>,
    /// Replace a file that says something else
    #[arg(long)]
    force: bool,
}

/// Writes the file.
///
/// # Errors
/// What was given is no configuration; the file is there and says something else, or cannot be written.
pub fn init(options: &InitOptions, path: &Path) -> Result<(), Problem> {
    let text = document(options);
    Config::parse(&text)?;
    let failed =
        |error: std::io::Error| Problem::new(1, format!("configuration {}: {error}", path.display()));
    match std::fs::read_to_string(path) {
        Ok(there) if there == text => return Ok(()),
        Ok(_) if !options.force => {
            let path = path.display();
            return Err(Problem::new(
                1,
                format!("configuration {path} says something else: give --force to replace it"),
            ));
        }
        _ => {}
    }
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    std::fs::write(path, text).map_err(failed)
}

fn document(options: &InitOptions) -> String {
    let given = |text: &str| Node::text(text.trim_matches([' ', '\'']));
    let section =
        |keys: Vec<(&str, Node)>| Node::Map(keys.into_iter().map(|(k, v)| (k.to_owned(), v)).collect());
    let profile = options.profile.as_deref().map_or_else(|| Node::text(""), given);
    emit(
        &[
            ("awsConfig", section(vec![("region", given(&options.region)), ("profile", profile)])),
            ("appConfig", section(vec![("logLevel", Node::text("debug"))])),
            ("sqsConfig", section(vec![("amiBuildRequestQueueUrl", given(&options.queue))])),
            ("packer", section(vec![("executablePath", Node::text("/usr/bin/container-packer"))])),
            (
                "templates",
                section(vec![
                    ("templatesRepo", given(&options.repository)),
                    ("checkoutPath", Node::text("/home/ec2-user/packer-build-templates")),
                ]),
            ),
            ("executionDigest", section(vec![("bucketName", given(&options.bucket))])),
        ]
        .map(|(name, node)| (name.to_owned(), node)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> InitOptions {
        InitOptions {
            region: "eu-west-1".to_owned(),
            repository: " 'https://github.com/acme/packer-templates.git'".to_owned(),
            bucket: "kiln-audit".to_owned(),
            queue: "https://sqs.eu-west-1.amazonaws.com/111122223333/q".to_owned(),
            profile: None,
            force: false,
        }
    }

    #[test]
    fn k15_the_file_is_the_one_that_kiln_generated() {
        assert_eq!(document(&options()), include_str!("audit/fixtures/config.yml"));
        Config::parse(&document(&options())).unwrap();
    }

    #[test]
    fn k15_the_second_run_is_harmless_and_no_edit_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config/config.yml");
        init(&options(), &path).unwrap();
        init(&options(), &path).unwrap();
        std::fs::write(&path, "edited").unwrap();
        let problem = init(&options(), &path).unwrap_err();
        assert!(problem.message.contains("--force"), "{problem}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "edited");
        init(&InitOptions { force: true, ..options() }, &path).unwrap();
        let wrong = InitOptions { queue: "q".to_owned(), ..options() };
        assert_eq!(init(&wrong, &folder.path().join("other.yml")).unwrap_err().code, 78);
        assert!(!folder.path().join("other.yml").exists());
    }
}
