//! A Redis of the tests' own: [`Server`].

use std::{net::TcpListener, process::Stdio, time::Duration};

use redis::aio::MultiplexedConnection;
use tokio::{
    process::{Child, Command},
    time::sleep,
};

/// A redis-server that ends with the test.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    port: u16,
}

impl Server {
    /// Starts one on a free port, which keeps nothing on disk.
    pub(crate) async fn start() -> Self {
        loop {
            let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
            let port = free.expect("a free port").port();
            // Another program may have taken the port meanwhile.
            if let Some(server) = Self::start_on(port).await {
                return server;
            }
        }
    }

    /// Returns `None` if the port is taken.
    pub(crate) async fn start_on(port: u16) -> Option<Self> {
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("redis-server is on the PATH: .ci/setup installs it");
        let mut server = Self { child, port };
        loop {
            if server.child.try_wait().expect("a child of this process").is_some() {
                return None;
            }
            let client = redis::Client::open(server.url()).expect("an address");
            if client.get_multiplexed_async_connection().await.is_ok() {
                return Some(server);
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    pub(crate) async fn commands(&self) -> MultiplexedConnection {
        let client = redis::Client::open(self.url()).expect("an address");
        client.get_multiplexed_async_connection().await.expect("a server that runs")
    }

    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.expect("a child of this process");
    }
}
