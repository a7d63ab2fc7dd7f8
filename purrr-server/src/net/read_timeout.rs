//! Read timeouts of an HTTP connection: [`ReadTimeout`].
//!
//! hyper's own timeout of a request head also runs between two requests. A load balancer keeps its
//! connections for longer than a head may take, so the two need a timeout each.

use std::{
    future::Future,
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

/// Fails a read with `TimedOut` once a head takes too long, or no request comes.
///
/// While a request is answered there is no timeout here: its body and its answer have their own.
#[derive(Debug)]
pub(crate) struct ReadTimeout<T> {
    io: T,
    /// From the first byte of a head to its last.
    head: Duration,
    /// From the last byte of an answer to the first of the next head.
    keep_alive: Duration,
    answering: Answering,
    phase: Phase,
    /// Runs while a read waits.
    timer: Option<Pin<Box<Sleep>>>,
}

/// Whether a request of the connection is being answered. Set by its service.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answering(Arc<AtomicBool>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Between two requests, or an answer is being written; since the last byte of either.
    Idle(Instant),
    /// A head has begun.
    Head(Instant),
}

impl Answering {
    pub(crate) fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn end(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    fn is_under_way(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl<T> ReadTimeout<T> {
    /// Creates the stream of a connection whose first head begins now.
    pub(crate) fn new(io: T, head: Duration, keep_alive: Duration, answering: Answering) -> Self {
        let phase = Phase::Head(Instant::now());
        Self { io, head, keep_alive, answering, phase, timer: None }
    }

    /// Returns the stream without its timeouts.
    pub(crate) fn into_inner(self) -> T {
        self.io
    }

    fn deadline(&self) -> Instant {
        match self.phase {
            Phase::Idle(since) => since + self.keep_alive,
            Phase::Head(since) => since + self.head,
        }
    }

    /// Fails once the deadline has passed, or waits for it.
    fn check(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let deadline = self.deadline();
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        timer.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Notes that a part of an answer was written, and starts the timer.
    fn written(&mut self, cx: &mut Context<'_>, written: &Poll<io::Result<usize>>) {
        if matches!(written, Poll::Ready(Ok(1..))) {
            self.phase = Phase::Idle(Instant::now());
            // hyper may have read while the request was answered, and does not read again then.
            self.check(cx).map(drop).is_ready();
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for ReadTimeout<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let filled = buffer.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buffer);
        if self.answering.is_under_way() {
            // The next head begins after the answer, of which some is written by then.
            self.phase = Phase::Idle(Instant::now());
            self.timer = None;
            return read;
        }
        if read.is_pending() {
            return self.check(cx);
        }
        if buffer.filled().len() > filled && matches!(self.phase, Phase::Idle(_)) {
            self.phase = Phase::Head(Instant::now());
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for ReadTimeout<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.written(cx, &written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        self.written(cx, &written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
        time::sleep,
    };

    use super::*;

    const HEAD: Duration = Duration::from_secs(5);
    const KEEP_ALIVE: Duration = Duration::from_secs(75);

    fn stream() -> (ReadTimeout<DuplexStream>, DuplexStream, Answering) {
        let (server, client) = duplex(100);
        let answering = Answering::default();
        (ReadTimeout::new(server, HEAD, KEEP_ALIVE, answering.clone()), client, answering)
    }

    /// Reads until the timeout. Returns how long that took.
    async fn timed_out(server: &mut ReadTimeout<DuplexStream>) -> Duration {
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
}
