//! From a webhook that is sent to the call for capacity at AWS: the daemon, nobody else's network in between.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use scaler::hint::signature::sign;
use secrecy::SecretString;

use super::{Around, JOBS, end, lock};
use crate::measure::{Measured, Once, measure};
use crate::services::largest_rss_kib;

pub const SECRET: &str = "webhook-secret";

const JOB: &str = r#"{"event":"job.scheduled","job":{"id":"1","agent_query_rules":["queue=default"]},"pipeline":{"slug":"app"}}"#;

/// Hints in all; each is alone, as the first one of a build is.
const HINTS: usize = 300;

/// Longer than the pause after a look that a hint asked for.
pub const APART: Duration = Duration::from_millis(550);

/// The daemon's reaction to hints, its polls too far apart to have a part in it; and the slowest but one in a hundred.
pub fn reaction(around: &Around, programs: &Path) -> (Measured, Duration) {
    let mut command = around.command(programs, "run");
    command.args(["--listen", "127.0.0.1:0"]).env("HINT_SECRET", SECRET).env("LAMBDA_INTERVAL", "3600s");
    let mut child = command.stderr(Stdio::piped()).spawn().expect("the program starts");
    let mut said = BufReader::new(child.stderr.take().expect("piped"));
    let mut line = String::new();
    said.read_line(&mut line).expect("it says where it listens");
    let address =
        line.trim().trim_start_matches("scaler: listening for hints on http://").trim_end_matches('/');
    let mut took = Vec::with_capacity(HINTS);
    let measured = measure("webhook sent to capacity asked for", HINTS, || {
        let once = hint(around, &child, address);
        took.push(once.took);
        once
    });
    end(&mut child);
    took.sort();
    (measured, took[HINTS * 99 / 100])
}

/// The webhook's request, signed now.
pub fn request(path: &str) -> String {
    let secret = SecretString::from(SECRET.to_owned());
    let signature = sign(&secret, JOB.as_bytes(), Timestamp::now());
    format!(
        "POST {path} HTTP/1.1\r\nHost: scaler\r\nContent-Type: application/json\r\nConnection: close\r\n\
         X-Buildkite-Signature: {signature}\r\nContent-Length: {}\r\n\r\n{JOB}",
        JOB.len()
    )
}

/// Connection, request, verification, a look at CI and AWS, and the call.
fn hint(around: &Around, child: &Child, address: &str) -> Once {
    *lock(&around.served.jobs) = 0;
    *lock(&around.served.desired) = 0;
    std::thread::sleep(APART);
    let _ = around.set.try_iter().count();
    *lock(&around.served.jobs) = JOBS;
    let request = request("/");
    let sent = Instant::now();
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    let set = around.set.recv_timeout(Duration::from_secs(10)).expect("capacity is asked for");
    Once { took: set - sent, rss_kib: largest_rss_kib(child) }
}
