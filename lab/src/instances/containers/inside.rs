//! `lab` as the first program of a container instance: it plays the part of the hardware, then systemd takes its place.
//!
//! The container has a loopback interface and nothing else. Each service of the lab answers there under the address that
//! it has outside, and the metadata service under 169.254.169.254, as on EC2: a child of this program listens there, and
//! passes everything on through the socket of `wires.rs`.

use std::ffi::OsString;
use std::io::{BufRead as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, UnixStream};

use super::wires::{METADATA, SERVICES, SOCKET};

/// The hidden verb of the first program.
pub const POWER_ON: &str = "instance-power-on";
/// The hidden verb of its child.
const WIRES: &str = "instance-wires";
/// Where the container has the program.
pub const PROGRAM: &str = "/opt/lab/lab";
/// The folder with the socket.
pub const FOLDER: &str = "/opt/lab/wires";
/// The metadata service's address on EC2.
const METADATA_ADDRESS: (Ipv4Addr, u16) = (Ipv4Addr::new(169, 254, 169, 254), 80);
/// The journal goes to the console, which the lab keeps.
const CONSOLE: &str = "[Journal]\nForwardToConsole=yes\nTTYPath=/dev/console\nMaxLevelConsole=info\n";

/// Runs one of the two when the command line says so; call it first in `main`.
pub fn inside_when_asked(args: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let args: Vec<OsString> = args.into_iter().skip(1).collect();
    let done = match args.first()?.to_str()? {
        POWER_ON => power_on(&args[1..]),
        WIRES => wires(),
        _ => return None,
    };
    Some(match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lab: {error:#}");
            ExitCode::FAILURE
        }
    })
}

/// `NAME=VALUE` arguments become `/etc/tidemark/environment`, which the units read.
fn power_on(variables: &[OsString]) -> Result<()> {
    let lines: Vec<&str> = variables.iter().filter_map(|v| v.to_str()).collect();
    std::fs::create_dir_all("/etc/tidemark")?;
    std::fs::write("/etc/tidemark/environment", lines.join("\n") + "\n")?;
    std::fs::create_dir_all("/run/systemd/journald.conf.d")?;
    std::fs::write("/run/systemd/journald.conf.d/lab.conf", CONSOLE)?;
    machine()?;
    let address = format!("{}/32", METADATA_ADDRESS.0);
    succeed("ip", &["address", "add", &address, "dev", "lo"])?;
    let mut child =
        Command::new(PROGRAM).arg(WIRES).stdout(Stdio::piped()).spawn().context("start the wires")?;
    let mut said = String::new();
    let output = child.stdout.take().context("the wires' output")?;
    std::io::BufReader::new(output).read_line(&mut said)?;
    if said != "ready\n" {
        bail!("the wires ended");
    }
    let mut init = Command::new("/sbin/init");
    init.env_clear().env("container", "docker");
    Err(init.exec()).context("start systemd")
}

/// What a machine has and a container has not: settings of its own network that can be written, which Docker inside
/// does; and, as cloud-init does it on EC2, a host key.
fn machine() -> Result<()> {
    let proc = "/run/lab-proc";
    std::fs::create_dir_all(proc)?;
    succeed("mount", &["-t", "proc", "proc", proc])?;
    succeed("mount", &["--bind", &format!("{proc}/sys/net"), "/proc/sys/net"])?;
    succeed("umount", &[proc])?;
    let key = "/etc/ssh/ssh_host_ed25519_key";
    if !Path::new(key).exists() {
        succeed("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", key])?;
    }
    Ok(())
}

fn succeed(program: &str, arguments: &[&str]) -> Result<()> {
    let ended = Command::new(program).args(arguments).status().with_context(|| format!("run {program}"))?;
    ensure!(ended.success(), "{program} {}: {ended}", arguments.join(" "));
    Ok(())
}

fn wires() -> Result<()> {
    // systemd lets go of the terminal when it starts, which ends whoever shares it.
    nix::unistd::setsid().context("a session of its own")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        listen(METADATA_ADDRESS.into(), METADATA.to_owned()).await?;
        let mut told = BufReader::new(to_lab(SERVICES).await?).lines();
        let mut ready = false;
        while let Some(line) = told.next_line().await? {
            if line != "." {
                listen(line.parse().with_context(|| format!("address {line}"))?, line).await?;
            } else if !ready {
                ready = true;
                std::io::stdout().write_all(b"ready\n")?;
                std::io::stdout().flush()?;
            }
        }
        // The lab has gone: what is there is of no use any more.
        Ok(())
    })
}

/// Passes on what comes to an address.
async fn listen(address: SocketAddr, wanted: String) -> Result<()> {
    let listener = TcpListener::bind(address).await.with_context(|| format!("listen on {address}"))?;
    tokio::spawn(async move {
        while let Ok((mut here, _)) = listener.accept().await {
            let wanted = wanted.clone();
            tokio::spawn(async move {
                let _ = here.set_nodelay(true);
                let Ok(mut lab) = to_lab(&wanted).await else { return };
                // A broken connection is seen at both of its ends.
                let _ = tokio::io::copy_bidirectional(&mut here, &mut lab).await;
            });
        }
    });
    Ok(())
}

async fn to_lab(wanted: &str) -> Result<UnixStream> {
    let mut lab = UnixStream::connect(Path::new(FOLDER).join(SOCKET)).await.context("the lab's socket")?;
    lab.write_all(format!("{wanted}\n").as_bytes()).await?;
    Ok(lab)
}
