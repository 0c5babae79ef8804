//! The daemon's endpoint for hints: HTTP/1.1, `POST` on any path, one request a connection.
//!
//! It faces whoever reaches the port, so all is bounded: connections, header, body, and the time for each.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use jiff::Timestamp;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::LONGEST_BODY;
use super::desk::{Desk, Taken};
use super::signature;
use crate::ports::Problem;

/// Connections at a time; others wait in the kernel's queue.
const CONNECTIONS: usize = 32;

/// For a whole request and its answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes of a request's head, and how many fields it may have.
const HEAD: usize = 16 * 1024;
const FIELDS: usize = 64;

/// The endpoint, bound and ready to serve.
#[derive(Debug)]
pub struct HintEndpoint {
    listener: TcpListener,
    /// Where it listens.
    pub address: SocketAddr,
}

impl HintEndpoint {
    /// Binds it.
    ///
    /// # Errors
    /// The address is taken, or none of this machine.
    pub async fn bind(address: SocketAddr) -> Result<Self, Problem> {
        let fault = |error| {
            Problem::new(78, format!("listen for hints on {address}: {error}: give a free HINT_ADDRESS"))
        };
        let listener = TcpListener::bind(address).await.map_err(fault)?;
        let address = listener.local_addr().map_err(fault)?;
        Ok(Self { listener, address })
    }

    /// Serves until dropped.
    pub async fn serve(self, desk: Arc<Desk>) -> Infallible {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            // It is never closed.
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { continue };
            let Ok((stream, _)) = self.listener.accept().await else {
                // No more file descriptors, for instance: others end meanwhile.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let desk = Arc::clone(&desk);
            tokio::spawn(async move {
                let _place = place;
                let _ = tokio::time::timeout(PATIENCE, converse(stream, &desk)).await;
            });
        }
    }
}

async fn converse(stream: TcpStream, desk: &Desk) {
    // The answer is one short write.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| async move { Ok::<_, Infallible>(answer(request, desk).await) });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(PATIENCE).keep_alive(false);
    http.max_buf_size(HEAD).max_headers(FIELDS);
    // Whoever breaks off gets no answer.
    let _ = http.serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(request: Request<Incoming>, desk: &Desk) -> Response<Full<Bytes>> {
    if request.method() != Method::POST {
        return response(405, "{\"message\":\"POST a webhook\"}\n");
    }
    let text = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let signature = text(signature::HEADER).map(str::to_owned);
    let length = text(CONTENT_LENGTH.as_str()).and_then(|length| length.parse::<usize>().ok());
    let taken = if length.is_some_and(|length| length > LONGEST_BODY) {
        Taken::TooLarge
    } else {
        match Limited::new(request.into_body(), LONGEST_BODY).collect().await {
            Ok(body) => desk.take(signature.as_deref(), &body.to_bytes(), Timestamp::now()).await,
            Err(_) => Taken::TooLarge,
        }
    };
    let (status, body) = taken.answer();
    response(status, body)
}

fn response(status: u16, body: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests;
