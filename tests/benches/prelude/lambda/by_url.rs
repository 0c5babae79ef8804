//! From a webhook at the function's URL to the call for capacity: the function's program on an emulated runtime API, its
//! lease and state on a table. What AWS itself takes between its URL and the runtime API is not in it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::hint::{APART, SECRET, request};
use super::{Around, JOBS, Served, end, lock};
use crate::measure::{Measured, Once, measure};
use crate::services::largest_rss_kib;

/// Hints to a program that has had one before; and to one that starts with it.
const WARM: usize = 100;
const COLD: usize = 40;

/// A program that is there already, and the slowest of its answers but one in a hundred; and one that starts with the hint.
pub struct ByUrl {
    pub warm: Measured,
    pub warm_p99: Duration,
    pub cold: Measured,
}

/// Measures both.
pub fn reaction(around: &Around, programs: &Path) -> ByUrl {
    let start = || {
        let mut command: Command = around.command(programs, "lambda");
        command.env("STATE_TABLE", "state").env("HINT_SECRET", SECRET);
        command.spawn().expect("the program starts")
    };
    let mut child = start();
    hint(around, &child);
    let mut took = Vec::with_capacity(WARM);
    let warm = measure("webhook at the function's URL to capacity asked for", WARM, || {
        std::thread::sleep(APART);
        let once = hint(around, &child);
        took.push(once.took);
        once
    });
    end(&mut child);
    took.sort();
    // Lambda starts a program when there is an event for it: sent first, started then.
    let cold = measure("the same, where the program starts with it", COLD, || {
        let sent = send(around);
        let mut child = start();
        let once = set(around, &child, sent);
        end(&mut child);
        once
    });
    assert!(*lock(&around.served.asked_table) > 0, "the program never asked its table");
    ByUrl { warm, warm_p99: took[WARM * 99 / 100], cold }
}

fn hint(around: &Around, child: &Child) -> Once {
    let sent = send(around);
    set(around, child, sent)
}

/// Sends a webhook for jobs that nobody has capacity for.
fn send(around: &Around) -> Instant {
    *lock(&around.served.desired) = 0;
    let _ = (around.set.try_iter().count(), around.answered.try_iter().count());
    *lock(&around.served.jobs) = JOBS;
    let request = request("/url");
    let sent = Instant::now();
    let mut stream = TcpStream::connect(&around.url).expect("it listens");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    sent
}

/// Until capacity is asked for; then waits for the invocation's end.
fn set(around: &Around, child: &Child, sent: Instant) -> Once {
    let set = around.set.recv_timeout(Duration::from_secs(10)).expect("capacity is asked for");
    around.answered.recv_timeout(Duration::from_secs(10)).expect("the invocation ends well");
    Once { took: set - sent, rss_kib: largest_rss_kib(child) }
}

/// The request as Lambda hands it on, an event of payload version 2.0.
pub async fn url(State(served): State<Served>, headers: HeaderMap, body: String) -> StatusCode {
    let headers: Value = headers
        .iter()
        .map(|(name, value)| (name.to_string(), json!(String::from_utf8_lossy(value.as_bytes()))))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let http = json!({"method": "POST", "path": "/", "sourceIp": "192.0.2.1"});
    let event = json!({"version": "2.0", "rawPath": "/", "headers": headers, "body": body,
        "isBase64Encoded": false, "requestContext": {"http": http}});
    served.offer(event.to_string());
    StatusCode::ACCEPTED
}
