//! The unix socket: each connection brings one request, which goes to the keeper and is answered when it decides.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use nix::unistd::Uid;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};

use super::protocol::{Answer, LONGEST_LINE, Request};
use crate::failure::Failure;

/// A request and where its answer goes.
#[derive(Debug)]
pub struct Call {
    /// What is asked.
    pub request: Request,
    /// May whoever asks tell the instance what to do? Root and the user of `watch`: no job, no agent.
    pub by_operator: bool,
    /// Takes the answer.
    pub answer: oneshot::Sender<Answer>,
}

/// A connection that says nothing for this long is closed.
const SILENCE: Duration = Duration::from_secs(10);

/// Binds the socket; one that a former `watch` left is replaced. Any user of the instance may talk to it: hooks run
/// as the jobs' user.
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
pub async fn serve(listener: UnixListener, calls: mpsc::Sender<Call>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(converse(stream, calls.clone()));
            }
            // Out of file descriptors, for instance: others must end first.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// One connection. Its ends are the caller's affair, so errors are not told.
async fn converse(stream: UnixStream, calls: mpsc::Sender<Call>) -> Option<()> {
    // As the kernel knows it, from the moment of connecting.
    let asker = stream.peer_cred().ok()?.uid();
    let by_operator = asker == 0 || asker == Uid::effective().as_raw();
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    let mut reader = BufReader::new(reader.take(LONGEST_LINE));
    tokio::time::timeout(SILENCE, reader.read_line(&mut line)).await.ok()?.ok()?;
    let answer = match serde_json::from_str(&line) {
        Ok(request) => {
            let (sender, receiver) = oneshot::channel();
            calls.send(Call { request, by_operator, answer: sender }).await.ok()?;
            receiver.await.ok()?
        }
        Err(error) => Answer::refused(format!("not understood: {error}")),
    };
    let mut text = serde_json::to_string(&answer).ok()?;
    text.push('\n');
    writer.write_all(text.as_bytes()).await.ok()
}
