//! What only these tests do with a [`Server`].

use tokio::net::TcpStream;

use crate::support::{Answer, Server, raw};

impl Server {
    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("the server accepts connections")
    }

    /// Sends these bytes as they are and reads the answer.
    pub(crate) async fn raw(&self, request: impl AsRef<[u8]>) -> Answer {
        raw(self.address, request).await
    }

    /// A well-formed request without a body, with these lines added to its head.
    pub(crate) async fn ask(&self, request_line: &str, lines: &[&str]) -> Answer {
        let mut request = format!("{request_line} HTTP/1.1\r\nHost: {}\r\n", self.address);
        for line in lines {
            request.push_str(line);
            request.push_str("\r\n");
        }
        if !lines.iter().any(|line| line.starts_with("Connection:")) {
            request.push_str("Connection: close\r\n");
        }
        request.push_str("\r\n");
        self.raw(request).await
    }

    /// Begins an Engine.IO session that polls; returns its id.
    pub(crate) async fn polling_session(&self) -> String {
        Self::polling_session_at(self.address).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path}"), &[]).await
    }
}
