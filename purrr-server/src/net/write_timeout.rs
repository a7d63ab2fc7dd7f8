//! A write timeout for HTTP responses: [`WriteTimeout`].
//!
//! The crate `tokio-io-timeout` does the same with its timer inside the stream, so it cannot move
//! once it is polled. hyper takes only streams that can (`Unpin`), so it would have to be pinned in
//! a box, and the TCP stream could not be taken out of that again when a connection is upgraded.
//! Here the timer is allocated only while a write waits.

use std::{
    future::Future,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// Fails a write with `TimedOut` once the client has taken nothing for the timeout.
#[derive(Debug)]
pub(crate) struct WriteTimeout<T> {
    io: T,
    timeout: Duration,
    /// Runs while a write waits. Most connections never have one.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<T> WriteTimeout<T> {
    pub(crate) const fn new(io: T, timeout: Duration) -> Self {
        Self { io, timeout, deadline: None }
    }

    /// Returns the stream without its timeout.
    pub(crate) fn into_inner(self) -> T {
        self.io
    }

    /// Stops the timer if a write made progress, else starts it and fails when it elapses.
    fn check<R>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        if written.is_ready() {
            self.deadline = None;
            return written;
        }
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(self.timeout)));
        ready!(deadline.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for WriteTimeout<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for WriteTimeout<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.check(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        self.check(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.check(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, duplex},
        time::Instant,
    };

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn write_timeout_needs_no_progress_at_all() {
        let (server, mut client) = duplex(10);
        let mut server = WriteTimeout::new(server, Duration::from_secs(60));
        let began = Instant::now();
        let reading = async {
            for _ in 0..10 {
                sleep(Duration::from_secs(50)).await;
                client.read_exact(&mut [0; 10]).await.unwrap();
            }
        };
        let writing = async { server.write_all(&[0; 120]).await.unwrap_err().kind() };
        let ((), failed) = tokio::join!(reading, writing);
        assert_eq!(failed, io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed().as_secs(), 10 * 50 + 60);
    }
}
