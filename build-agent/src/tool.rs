//! `buildkite-agent` inside a job: the same program under the name that scripts and hooks call.

use std::ffi::OsString;
use std::io::Read as _;
use std::process::ExitCode;

use agent_api::client::{ApiError, Client};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::bootstrap::job_api;

/// `meta-data exists` of a key that is not set.
const EXIT_ABSENT: u8 = 100;

#[derive(Parser)]
#[command(name = "buildkite-agent", version, about = "What a job may ask of its agent")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Values that the jobs of a build share.
    #[command(name = "meta-data", subcommand)]
    MetaData(MetaData),
    /// Values that the log must not show.
    #[command(subcommand)]
    Redactor(RedactorVerb),
    #[command(external_subcommand)]
    Other(Vec<OsString>),
}

#[derive(Subcommand)]
enum MetaData {
    /// Sets a key; the value comes from standard input if it is not given.
    Set {
        /// Name in the build.
        key: String,
        /// Any text.
        value: Option<String>,
        #[command(flatten)]
        job: JobArg,
    },
    /// Prints a value; exit 1 if the key is not set and there is no default.
    Get {
        /// Name in the build.
        key: String,
        /// Printed if the key is not set.
        #[arg(long)]
        default: Option<String>,
        #[command(flatten)]
        job: JobArg,
    },
    /// Exit 0 if the key is set, 100 if not.
    Exists {
        /// Name in the build.
        key: String,
        #[command(flatten)]
        job: JobArg,
    },
    /// Prints all keys, one a line.
    Keys {
        #[command(flatten)]
        job: JobArg,
    },
}

#[derive(Args)]
struct JobArg {
    /// Which job asks.
    #[arg(long = "job", env = "BUILDKITE_JOB_ID")]
    id: String,
}

#[derive(Subcommand)]
enum RedactorVerb {
    /// Hides a value from the log from now on.
    Add {
        /// `none`: the whole input is one value; `json`: the values of a JSON object.
        #[arg(long, value_enum, default_value = "none")]
        format: Format,
        /// File with the value; `-` or nothing: standard input.
        file: Option<std::path::PathBuf>,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    None,
    Json,
}

/// The tool. `args` include the program's name.
#[must_use]
pub fn main(args: &[OsString]) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("cannot start: {error}")),
    };
    let result = runtime.block_on(async {
        match cli.verb {
            Verb::MetaData(verb) => meta_data(verb).await,
            Verb::Redactor(RedactorVerb::Add { format, file }) => redactor_add(format, file).await,
            Verb::Other(words) => {
                let verb = words.first().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
                Err(format!("`{verb}` is not supported by this agent yet; it knows meta-data and redactor"))
            }
        }
    });
    result.unwrap_or_else(|error| fail(&error))
}

fn fail(error: &str) -> ExitCode {
    eprintln!("buildkite-agent: {error}");
    ExitCode::FAILURE
}

/// The client of the job that `variable` describes.
pub(crate) fn client_of(variable: impl Fn(&str) -> Option<String>) -> Result<Client, ApiError> {
    let get = |name: &str| {
        let missing =
            || ApiError::Request { call: "client", cause: format!("{name} is not set: not inside a job?") };
        variable(name).filter(|value| !value.is_empty()).ok_or_else(missing)
    };
    let token = get("BUILDKITE_AGENT_ACCESS_TOKEN")?;
    Client::new(&get("BUILDKITE_AGENT_ENDPOINT")?, token.into(), &crate::user_agent())
}

fn client() -> Result<Client, String> {
    let client = client_of(|name| std::env::var(name).ok()).map_err(|error| error.to_string())?;
    let headers = std::env::vars_os().filter_map(|(name, value)| {
        let name = name.to_str()?.strip_prefix("BUILDKITE_REQUEST_HEADER_")?.replace('_', "-");
        Some((name, value.to_str()?.to_owned()))
    });
    client.set_request_headers(&headers.collect());
    Ok(client)
}

async fn meta_data(verb: MetaData) -> Result<ExitCode, String> {
    let client = client()?;
    let text = |error: ApiError| error.to_string();
    match verb {
        MetaData::Set { key, value, job } => {
            let value = match value {
                Some(value) => value,
                None => read_text(None)?,
            };
            client.meta_data_set(&job.id, &key, &value).await.map_err(text)?;
        }
        MetaData::Get { key, default, job } => {
            match client.meta_data_get(&job.id, &key).await.map_err(text)?.or(default) {
                Some(value) => write_out(&value)?,
                None => {
                    return Err(format!("meta-data {key} is not set; use --default to print something else"));
                }
            }
        }
        MetaData::Exists { key, job } => {
            if !client.meta_data_exists(&job.id, &key).await.map_err(text)? {
                return Ok(ExitCode::from(EXIT_ABSENT));
            }
        }
        MetaData::Keys { job } => {
            let keys = client.meta_data_keys(&job.id).await.map_err(text)?;
            write_out(&keys.iter().map(|key| format!("{key}\n")).collect::<String>())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn write_out(text: &str) -> Result<(), String> {
    use std::io::Write as _;
    std::io::stdout().write_all(text.as_bytes()).map_err(|error| format!("cannot write: {error}"))
}

fn read_text(file: Option<std::path::PathBuf>) -> Result<String, String> {
    let file = file.filter(|file| file.as_os_str() != "-");
    let mut text = String::new();
    match &file {
        Some(file) => std::fs::File::open(file).and_then(|mut file| file.read_to_string(&mut text)),
        None => std::io::stdin().read_to_string(&mut text),
    }
    .map_err(|error| {
        format!(
            "cannot read {}: {error}",
            file.map_or("standard input".into(), |file| file.display().to_string())
        )
    })?;
    Ok(text)
}

async fn redactor_add(format: Format, file: Option<std::path::PathBuf>) -> Result<ExitCode, String> {
    let text = read_text(file)?;
    let values: Vec<String> = match format {
        Format::None => vec![text],
        Format::Json => {
            let object: std::collections::BTreeMap<String, String> = serde_json::from_str(&text)
                .map_err(|error| format!("the input is no JSON object of texts (line {})", error.line()))?;
            object.into_values().collect()
        }
    };
    let get = |name: &str| std::env::var(name).map_err(|_| format!("{name} is not set: not inside a job?"));
    let (socket, token) = (get(job_api::SOCKET)?, get(job_api::TOKEN)?);
    // The second installation of a process fails, and that is fine: the first one stands.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::builder().unix_socket(std::path::PathBuf::from(socket)).build();
    let http = http.map_err(|error| format!("cannot reach the job's agent: {error}"))?;
    for redact in values {
        let request = http.post(format!("http://job{}", job_api::REDACTIONS)).bearer_auth(&token);
        let answer = request.json(&job_api::Redaction { redact }).send().await;
        answer
            .and_then(reqwest::Response::error_for_status)
            .map_err(|error| format!("the job's agent: {error}"))?;
    }
    Ok(ExitCode::SUCCESS)
}
