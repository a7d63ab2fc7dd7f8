//! An HTTP connection with the timeouts of its reads and writes: [`Timeouts`].
//!
//! The crate `tokio-io-timeout` does the same with its timers inside the stream, so it cannot move
//! once it is polled. hyper takes only streams that can (`Unpin`), so it would have to be pinned in
//! a box, and the TCP stream could not be taken out of that again when a connection is upgraded.
//! Here a timer is allocated only while a read or a write waits.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    read_timeout::{Answering, ReadTimeout},
    write_timeout::WriteTimeout,
};

/// The stream of a connection that [`run`](crate::run) has accepted, while it speaks HTTP.
#[derive(Debug)]
pub(crate) struct Timeouts<T> {
    io: T,
    read: ReadTimeout,
    write: WriteTimeout,
}

/// How long a connection may take for each step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionTimeouts {
    /// From the first byte of a head to its last.
    pub(crate) head: Duration,
    /// From the last byte of an answer to the first of the next head.
    pub(crate) keep_alive: Duration,
    /// For which a client may take nothing of what it is sent.
    pub(crate) write: Duration,
}

impl<T> Timeouts<T> {
    /// Creates the stream of a connection whose first head begins now.
    pub(crate) fn new(io: T, timeouts: ConnectionTimeouts, answering: Answering) -> Self {
        let ConnectionTimeouts { head, keep_alive, write } = timeouts;
        let read = ReadTimeout::new(head, keep_alive, answering);
        Self { io, read, write: WriteTimeout::new(write) }
    }

    /// Returns the stream without its timeouts.
    pub(crate) fn into_inner(self) -> T {
        self.io
    }

    /// Notes what a write came to, and fails it if it has waited for too long.
    fn check_write(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        self.read.handle_write(cx, &written);
        self.write.check(cx, written)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Timeouts<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let filled = buffer.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buffer);
        self.read.check(cx, read, buffer.filled().len() > filled)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Timeouts<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.check_write(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        self.check_write(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.write.check(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
        time::{Instant, sleep},
    };

    use super::*;

    const HEAD: Duration = Duration::from_secs(5);
    const KEEP_ALIVE: Duration = Duration::from_secs(75);
    const WRITE: Duration = Duration::from_secs(60);

    /// Bytes that a client may leave untaken.
    const BUFFER: usize = 100;

    fn stream() -> (Timeouts<DuplexStream>, DuplexStream, Answering) {
        let (server, client) = duplex(BUFFER);
        let answering = Answering::default();
        let timeouts = ConnectionTimeouts { head: HEAD, keep_alive: KEEP_ALIVE, write: WRITE };
        (Timeouts::new(server, timeouts, answering.clone()), client, answering)
    }

    /// Reads until the timeout. Returns how long that took.
    async fn timed_out(server: &mut Timeouts<DuplexStream>) -> Duration {
        let began = Instant::now();
        let failed = loop {
            match server.read(&mut [0; 10]).await {
                Ok(1..) => {}
                other => break other,
            }
        };
        assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::TimedOut);
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn head_has_a_timeout_however_slowly_it_drips() {
        let (mut server, mut client, _) = stream();
        let dripping = async {
            while client.write_all(b"x").await.is_ok() {
                sleep(HEAD / 10).await;
            }
        };
        tokio::select! {
            open = timed_out(&mut server) => assert_eq!(open, HEAD),
            () = dripping => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn kept_connection_has_a_timeout_of_its_own() {
        let (mut server, mut client, answering) = stream();
        for _ in 0..3 {
            client.write_all(b"head").await.unwrap();
            server.read_exact(&mut [0; 4]).await.unwrap();
            answering.begin();
            // A long poll: no timeout runs, though the connection is read from.
            tokio::select! {
                _ = server.read_u8() => panic!("nothing was sent"),
                () = sleep(2 * KEEP_ALIVE) => {}
            }
            answering.end();
            server.write_all(b"answer").await.unwrap();
            client.read_exact(&mut [0; 6]).await.unwrap();
            tokio::select! {
                _ = server.read_u8() => panic!("nothing was sent"),
                () = sleep(KEEP_ALIVE - HEAD) => {}
            }
        }
        assert_eq!(timed_out(&mut server).await, HEAD, "the rest of the time between two requests");
        let (mut server, mut client, answering) = stream();
        client.write_all(b"head").await.unwrap();
        server.read_exact(&mut [0; 4]).await.unwrap();
        answering.begin();
        answering.end();
        server.write_all(b"answer").await.unwrap();
        sleep(KEEP_ALIVE / 2).await;
        client.write_all(b"half a head").await.unwrap();
        assert_eq!(timed_out(&mut server).await, HEAD);
    }

    #[tokio::test(start_paused = true)]
    async fn write_timeout_needs_no_progress_at_all() {
        let (mut server, mut client, _) = stream();
        let began = Instant::now();
        let reading = async {
            for _ in 0..10 {
                sleep(Duration::from_secs(50)).await;
                client.read_exact(&mut [0; BUFFER]).await.unwrap();
            }
        };
        let writing = async { server.write_all(&[0; 12 * BUFFER]).await.unwrap_err().kind() };
        let ((), failed) = tokio::join!(reading, writing);
        assert_eq!(failed, io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed().as_secs(), 10 * 50 + 60);
    }
}
