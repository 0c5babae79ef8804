//! The way of an instance to the lab: a socket in the instance's folder, which is the container's only link to this
//! machine. What calls it (`inside.rs`) says where it wants to go, and gets no further than the lab's own services.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The socket's name in its folder.
pub const SOCKET: &str = "wires.sock";
/// Asks for the addresses of the lab's services: one a line, `.` after those of now, later ones as they come.
pub const SERVICES: &str = "services";
/// Asks for the metadata service.
pub const METADATA: &str = "metadata";

/// The addresses of the lab's services, which instances reach under these very addresses.
pub type Services = watch::Receiver<Vec<SocketAddr>>;

/// An open way. Dropping it closes it.
#[derive(Debug)]
pub struct Wires(JoinHandle<()>);

impl Wires {
    /// Listens in `folder`.
    ///
    /// # Errors
    /// The socket cannot be made: its path may be too long.
    pub fn open(folder: &Path, services: Services, metadata: SocketAddr) -> Result<Self> {
        let socket = folder.join(SOCKET);
        let listener =
            UnixListener::bind(&socket).with_context(|| format!("listen on {}", socket.display()))?;
        let services = Arc::new(services);
        Ok(Self(tokio::spawn(async move {
            // Connections end with their ends, not with this task: what still asks while it ends is answered.
            while let Ok((stream, _)) = listener.accept().await {
                let services = Arc::clone(&services);
                tokio::spawn(async move {
                    // A broken connection is the caller's matter.
                    let _ = serve(stream, &services, metadata).await;
                });
            }
        })))
    }
}

impl Drop for Wires {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn serve(stream: UnixStream, services: &Services, metadata: SocketAddr) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let wanted = match line.trim_end() {
        SERVICES => return tell(stream.into_inner(), services.clone()).await,
        METADATA => metadata,
        address => match address.parse() {
            Ok(address) if services.borrow().contains(&address) => address,
            _ => return Ok(()),
        },
    };
    let mut there = TcpStream::connect(wanted).await?;
    there.set_nodelay(true)?;
    tokio::io::copy_bidirectional(&mut stream, &mut there).await?;
    Ok(())
}

async fn tell(mut stream: UnixStream, mut services: Services) -> std::io::Result<()> {
    let mut told = 0;
    loop {
        let all: Vec<SocketAddr> = services.borrow_and_update().clone();
        let mut text: String = all[told..].iter().map(|address| format!("{address}\n")).collect();
        text.push_str(".\n");
        told = all.len();
        stream.write_all(text.as_bytes()).await?;
        if services.changed().await.is_err() {
            return Ok(());
        }
    }
}
