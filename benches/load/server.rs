//! The server under load, found or started: [`Server`].

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::Context;

use crate::{args::Args, process::Process};

/// A server that listens; one that was started here is stopped when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// What to measure, if that is known.
    pub(crate) process: Option<Process>,
    started: Option<Child>,
}

impl Server {
    pub(crate) fn find(args: &Args) -> anyhow::Result<Self> {
        let Some((program, rest)) = args.command.split_first() else {
            let address = args.address.unwrap_or_else(|| (Ipv4Addr::LOCALHOST, 3007).into());
            let process = args.server_pid.map(Process::with_id);
            return Ok(Self { address, process, started: None });
        };
        let address = args.address.map_or_else(free_address, Ok)?;
        let child = Command::new(program)
            .args(rest)
            .env("PORT", address.port().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {program}"))?;
        let process = Some(Process::with_id(child.id()));
        let mut server = Self { address, process, started: Some(child) };
        server.wait(args.patience)?;
        Ok(server)
    }

    fn wait(&mut self, patience: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + patience;
        while !listens(self.address.port())? {
            if let Some(child) = &mut self.started
                && let Some(status) = child.try_wait()?
            {
                anyhow::bail!("the server ended with {status} before it listened");
            }
            anyhow::ensure!(Instant::now() < deadline, "the server does not listen");
            sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

/// Whether anybody listens on a port. Not found out by connecting, which a server that pairs connections would count.
fn listens(port: u16) -> anyhow::Result<bool> {
    let mut sockets = fs::read_to_string("/proc/net/tcp")?;
    // There is none where IPv6 is turned off.
    sockets += &fs::read_to_string("/proc/net/tcp6").unwrap_or_default();
    Ok(sockets.lines().any(|socket| {
        let mut fields = socket.split_whitespace().skip(1);
        let local = fields.next().and_then(|local| local.rsplit_once(':'));
        let state = fields.nth(1);
        local.is_some_and(|(_, hex)| u16::from_str_radix(hex, 16) == Ok(port))
            && state == Some("0A")
    }))
}

fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.started {
            // It may have ended by itself, which is what is wanted.
            child.kill().ok();
            child.wait().ok();
        }
    }
}
