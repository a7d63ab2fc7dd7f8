//! Engine.IO over HTTP polling, with plain requests on kept-alive connections: [`Polling`].

use std::{collections::VecDeque, io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
    task::{AbortHandle, JoinHandle},
    time::Instant,
};

use super::Raw;
use crate::support::soon;

/// One session: a task that polls, as long as what it finds is taken, and a task that posts.
pub(crate) struct Polling {
    outgoing: mpsc::UnboundedSender<String>,
    incoming: mpsc::Receiver<Vec<String>>,
    taken: VecDeque<String>,
    posting: JoinHandle<()>,
    polling: AbortHandle,
}

/// A client's connection for one request after the other.
struct Http {
    address: SocketAddr,
    stream: Option<(TcpStream, Instant)>,
}

const SEPARATOR: char = '\u{1e}';

/// The server closes a connection on which nothing is asked for a while; one that has rested half
/// as long is not used.
const FRESH: Duration = Duration::from_millis(800);

impl Polling {
    pub(super) async fn connect(address: SocketAddr) -> Self {
        let mut http = Http { address, stream: None };
        let opened = soon("a handshake over polling", http.get("")).await;
        let greeting = opened.expect("the server opens a session");
        let sid = greeting.split(r#""sid":""#).nth(1).and_then(|rest| rest.split('"').next());
        let target = format!("&sid={}", sid.expect("an open packet names the session"));
        let (outgoing, mut queue) = mpsc::unbounded_channel::<String>();
        // One payload waits here and one more in the task: a client that takes none does not poll.
        let (arrived, incoming) = mpsc::channel(1);
        let mut poster = Http { address, stream: None };
        let posting = tokio::spawn({
            let target = target.clone();
            async move {
                while let Some(mut body) = queue.recv().await {
                    while let Ok(packet) = queue.try_recv() {
                        body.push(SEPARATOR);
                        body.push_str(&packet);
                    }
                    if poster.post(&target, &body).await.is_err() {
                        break;
                    }
                }
            }
        });
        let polling = tokio::spawn(async move {
            let mut payload = Ok(greeting);
            while let Ok(packets) = payload {
                let packets = packets.split(SEPARATOR).map(str::to_owned).collect();
                if arrived.send(packets).await.is_err() {
                    break;
                }
                payload = http.get(&target).await;
            }
        });
        let polling = polling.abort_handle();
        Self { outgoing, incoming, taken: VecDeque::new(), posting, polling }
    }

    pub(super) fn queue(&self, raw: Raw) {
        if let Raw::Text(packet) = raw {
            // It is not taken after the session has ended, of which `next` tells.
            self.outgoing.send(packet).ok();
        }
    }

    pub(super) async fn next(&mut self) -> Option<Raw> {
        loop {
            if let Some(packet) = self.taken.pop_front() {
                match packet.as_str() {
                    // A poll that had to end without anything to say.
                    "6" => continue,
                    "1" => return None,
                    _ => return Some(Raw::Text(packet)),
                }
            }
            self.taken = self.incoming.recv().await?.into();
        }
    }

    pub(super) async fn close(mut self) {
        self.queue(Raw::Text("1".to_owned()));
        while self.next().await.is_some() {}
    }
}

/// Without a word, whatever is under way.
impl Drop for Polling {
    fn drop(&mut self) {
        self.posting.abort();
        self.polling.abort();
    }
}

impl Http {
    async fn get(&mut self, target: &str) -> io::Result<String> {
        let head = format!("GET /socket.io/?EIO=4&transport=polling{target} HTTP/1.1\r\n");
        self.ask(head, "").await
    }

    async fn post(&mut self, target: &str, body: &str) -> io::Result<String> {
        let length = body.len();
        let head = format!(
            "POST /socket.io/?EIO=4&transport=polling{target} HTTP/1.1\r\nContent-Length: {length}\r\n"
        );
        self.ask(head, body).await
    }

    /// The body of the answer, if that is 200.
    ///
    /// The server may close a kept connection just as it is used, when this machine is late. It has
    /// read nothing of the request then, which is sent again as a browser does.
    async fn ask(&mut self, head: String, body: &str) -> io::Result<String> {
        let request = format!("{head}Host: {}\r\n\r\n{body}", self.address);
        if let Some((mut stream, since)) = self.stream.take()
            && since.elapsed() < FRESH
        {
            let mut begun = Vec::new();
            let sent = stream.write_all(request.as_bytes()).await;
            if sent.is_ok() && stream.read_buf(&mut begun).await.is_ok_and(|read| read > 0) {
                return self.answer(stream, begun).await;
            }
        }
        let mut stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        // A client that vanishes resets the connection; any other has read all that was due.
        stream.set_zero_linger()?;
        stream.write_all(request.as_bytes()).await?;
        self.answer(stream, Vec::new()).await
    }

    /// Reads an answer of which these bytes have come.
    async fn answer(&mut self, mut stream: TcpStream, mut bytes: Vec<u8>) -> io::Result<String> {
        let (start, length) = loop {
            if let Some(end) = bytes.windows(4).position(|end| end == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
                if !head.starts_with("http/1.1 200") {
                    return Err(io::Error::other(head));
                }
                let length = head.split("content-length: ").nth(1);
                let length = length.and_then(|rest| rest.lines().next()?.parse::<usize>().ok());
                break (end + 4, length.ok_or(io::ErrorKind::InvalidData)?);
            }
            if stream.read_buf(&mut bytes).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        };
        while bytes.len() < start + length {
            if stream.read_buf(&mut bytes).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        self.stream = Some((stream, Instant::now()));
        String::from_utf8(bytes.split_off(start)).map_err(io::Error::other)
    }
}
