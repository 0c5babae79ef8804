//! The unix socket: each connection brings one request, which goes to the keeper and is answered when it decides.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::asker::{Asker, Users};
use super::protocol::{Answer, LONGEST_LINE, Request};
use crate::failure::Failure;

/// A request and where its answer goes.
#[derive(Debug)]
pub struct Call {
    /// What is asked.
    pub request: Request,
    /// Who asks.
    pub asker: Asker,
    /// Takes the answer.
    pub answer: oneshot::Sender<Answer>,
}

/// A connection that says nothing for this long is closed.
const SILENCE: Duration = Duration::from_secs(10);

/// Connections at once; others wait. Far fewer than the files a process may have open: whoever opens thousands must
/// not keep `watch` from its heartbeats.
const MOST_CONNECTIONS: usize = 256;

/// Binds the socket; one that a former `watch` left is replaced. Any user of the instance may connect and ask how
/// things are; what else somebody may say is for [`Asker`] to tell.
///
/// # Errors
/// Names the socket.
pub fn bind(path: &Path) -> Result<UnixListener, Failure> {
    let failed = |e: std::io::Error| Failure::failed(format!("watch: socket {}: {e}", path.display()));
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    // Bound beside and renamed, so that a hook never meets a socket that nobody listens to in between.
    let neighbour = path.with_extension("new");
    match std::fs::remove_file(&neighbour) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = UnixListener::bind(&neighbour).map_err(failed)?;
    std::fs::set_permissions(&neighbour, std::fs::Permissions::from_mode(0o666)).map_err(failed)?;
    std::fs::rename(&neighbour, path).map_err(failed)?;
    Ok(listener)
}

/// Serves for ever.
pub async fn serve(listener: UnixListener, users: Users, calls: mpsc::Sender<Call>) {
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    // It is never closed.
    while let Ok(place) = Arc::clone(&room).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let calls = calls.clone();
                tokio::spawn(async move {
                    converse(stream, users, calls).await;
                    drop(place);
                });
            }
            // Out of file descriptors, for instance: others must end first.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// One connection. Its ends are the caller's affair, so errors are not told.
async fn converse(stream: UnixStream, users: Users, calls: mpsc::Sender<Call>) -> Option<()> {
    let asker = users.asker(&stream).ok()?;
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    let mut reader = BufReader::new(reader.take(LONGEST_LINE));
    tokio::time::timeout(SILENCE, reader.read_line(&mut line)).await.ok()?.ok()?;
    let answer = match serde_json::from_str(&line) {
        Ok(request) => {
            let (sender, receiver) = oneshot::channel();
            calls.send(Call { request, asker, answer: sender }).await.ok()?;
            receiver.await.ok()?
        }
        Err(error) => Answer::refused(format!("not understood: {error}")),
    };
    let mut text = serde_json::to_string(&answer).ok()?;
    text.push('\n');
    writer.write_all(text.as_bytes()).await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_opens_many_connections_takes_a_bounded_part_and_hands_it_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("watch.sock");
        let (calls, mut received) = mpsc::channel(64);
        tokio::spawn(serve(bind(&path).unwrap(), Users { agents: None }, calls));
        let mut silent = Vec::new();
        for _ in 0..MOST_CONNECTIONS {
            silent.push(UnixStream::connect(&path).await.unwrap());
        }
        let mut last = UnixStream::connect(&path).await.unwrap();
        last.write_all(b"{\"event\":\"status\"}\n").await.unwrap();
        let early = tokio::time::timeout(Duration::from_millis(200), received.recv()).await;
        assert!(early.is_err(), "more are served than there is room for: {early:?}");
        silent.pop();
        let call = tokio::time::timeout(Duration::from_secs(20), received.recv()).await.unwrap().unwrap();
        assert_eq!(call.request, Request::Status);
    }
}
