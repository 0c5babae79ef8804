//! `secrets check`: what a job of a pipeline would get, and everything that is wrong with it. Names, never values.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

use serde::Serialize;

use super::bundle::Content;
use super::folder::FolderSecretStore;
use super::s3::{KmsKeys, S3SecretStore};
use super::store::KeyDirectory as _;
use super::{Loaded, fault};
use crate::config::{self, EnvFormat, Environment, SecretsConfig};
use crate::failure::Failure;
use crate::hooks::ssh_agent;
use crate::layout::Layout;

/// Arguments of `secrets check`.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// Slug of the pipeline
    #[arg(long)]
    pub pipeline: String,
    /// Folder laid out as the bucket, instead of the bucket
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// Bucket, instead of the configured one
    #[arg(long, conflicts_with = "dir")]
    pub bucket: Option<String>,
    /// Region of the bucket
    #[arg(long, conflicts_with = "dir")]
    pub region: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// The report.
#[derive(Debug, Serialize)]
struct Report {
    pipeline: String,
    source: String,
    objects: Vec<Content>,
    faults: Vec<String>,
    notes: Vec<String>,
}

/// Lints and lists what a job would get.
///
/// # Errors
/// Exit code 1 when anything is wrong; everything that is was printed.
pub async fn check(layout: &Layout, args: CheckArgs) -> Result<(), Failure> {
    let environment = Environment::of_process();
    let config = configuration(layout, &args, &environment)?;
    let report = match &args.dir {
        Some(dir) => offline(dir, &config, &environment).await?,
        None => online(&config, &environment).await?,
    };
    let text = if args.json {
        serde_json::to_string_pretty(&report)
            .map_err(|error| Failure::failed(format!("secrets check: the report as JSON: {error}")))?
    } else {
        in_words(&report)
    };
    writeln!(std::io::stdout(), "{}", text.trim_end())
        .map_err(|error| Failure::failed(format!("secrets check: writing the report: {error}")))?;
    match report.faults.len() {
        0 => Ok(()),
        n => Err(Failure::failed(format!(
            "secrets check: {n} fault(s): a job of {} would stop",
            config.pipeline
        ))),
    }
}

fn configuration(
    layout: &Layout,
    args: &CheckArgs,
    environment: &Environment,
) -> Result<SecretsConfig, Failure> {
    let mut file = config::settings::read_file(&layout.hook_settings())?;
    let mut given = environment.clone();
    let folder_has_no_bucket = args.dir.as_ref().map(|_| "folder".to_owned());
    for (name, value) in [
        ("BUILDKITE_PLUGIN_S3_SECRETS_BUCKET", args.bucket.clone().or(folder_has_no_bucket)),
        ("BUILDKITE_PLUGIN_S3_SECRETS_REGION", args.region.clone()),
    ] {
        if let Some(value) = value {
            given.set(name, &value);
            // Who calls this by hand may look at any bucket.
            if let Some(file) = &mut file {
                file.insert(name.to_owned(), value);
            }
        }
    }
    SecretsConfig::of_pipeline(&|name| given.get(name), file, &args.pipeline)
        .map_err(|faults| config::failure(&faults))
}

async fn offline(
    dir: &std::path::Path,
    config: &SecretsConfig,
    environment: &Environment,
) -> Result<Report, Failure> {
    if !dir.is_dir() {
        return Err(Failure::config(format!("secrets check: --dir {}: no such folder", dir.display())));
    }
    let store = FolderSecretStore::new(dir);
    let loaded = super::load(&store, &store, config, environment).await;
    let notes = vec!["encryption is not checked in a folder: check the bucket too".to_owned()];
    Ok(report(loaded, config, dir.display().to_string(), notes).await)
}

async fn online(config: &SecretsConfig, environment: &Environment) -> Result<Report, Failure> {
    let session = super::session(config).await?;
    let keys = KmsKeys::new(&session);
    let store = S3SecretStore::new(&session, &config.bucket);
    let loaded = super::load(&store, &keys, config, environment).await;
    let mut notes = Vec::new();
    if let Some(key) = &config.encryption.key {
        notes.push(match keys.arn(key).await {
            Ok(Some(arn)) => format!("SECRETS_KMS_KEY is {arn}"),
            Ok(None) => format!("SECRETS_KMS_KEY {key}: there is no such key"),
            Err(error) => fault::of_key(&error, "SECRETS_KMS_KEY").message,
        });
    }
    // Reading an encrypted object is the only proof of decryption that needs no permission of its own.
    if loaded.bundle.contents.is_empty() && loaded.faults.is_empty() {
        notes.push(
            "there is no object to read: whether this role may decrypt shows with the first upload"
                .to_owned(),
        );
    } else if loaded.faults.iter().all(|f| f.code != 77) {
        notes.push("this role may decrypt every object listed".to_owned());
    }
    Ok(report(loaded, config, format!("s3://{}", config.bucket), notes).await)
}

/// Keys that look right may still be damaged: ssh-keygen reads them as ssh-add would.
async fn report(loaded: Loaded, config: &SecretsConfig, source: String, mut notes: Vec<String>) -> Report {
    let mut faults: Vec<String> = loaded.faults.into_iter().map(|f| f.message).collect();
    for key in &loaded.bundle.ssh_keys {
        if let Err(failure) = ssh_agent::try_key(key).await {
            faults.push(failure.message);
        }
    }
    for file in &loaded.bundle.git_files {
        match crate::git_credential::file::parse(&file.text).1 {
            0 => {}
            n => notes.push(format!("{}: {n} line(s) are no URL with a password and are ignored", file.uri)),
        }
    }
    if config.env_format == EnvFormat::Shell {
        notes.push(
            "env files of this pipeline are shell programs (SECRETS_ENV_FORMAT): they were run".to_owned(),
        );
    }
    Report { pipeline: config.pipeline.clone(), source, objects: loaded.bundle.contents, faults, notes }
}

fn in_words(report: &Report) -> String {
    let mut text = format!("pipeline {} from {}\n", report.pipeline, report.source);
    if report.objects.is_empty() && report.faults.is_empty() {
        text.push_str("  nothing: a job would get no secrets\n");
    }
    for object in &report.objects {
        let _ = writeln!(text, "  {:<16} {}", object.kind, object.object);
        if !object.variables.is_empty() {
            let _ = writeln!(text, "  {:<16}   {}", "", object.variables.join(" "));
        }
    }
    for note in &report.notes {
        let _ = writeln!(text, "note: {note}");
    }
    for fault in &report.faults {
        let _ = writeln!(text, "fault: {fault}");
    }
    text
}
