//! The byte stream of an upgraded connection: [`Stream`].

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::BytesMut;
use hyper::upgrade::{Parts, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::timeouts::Timeouts;

/// The byte stream of an upgraded connection.
///
/// Where [`run`](crate::run) accepted the connection it is the TCP stream itself, without the
/// layers of HTTP. Sessions have deadlines of their own for clients that do not read.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    /// Whatever else the app that nests the router serves on, such as TLS.
    Upgraded(TokioIo<Upgraded>),
}

impl Stream {
    /// Unwraps the TCP stream if there is one, and returns what was read ahead.
    pub(crate) fn new(upgraded: Upgraded) -> (Self, BytesMut) {
        match upgraded.downcast::<TokioIo<Timeouts<TcpStream>>>() {
            // Copied, since even an empty slice keeps the whole buffer of the request.
            Ok(Parts { io, read_buf, .. }) => {
                (Self::Tcp(io.into_inner().into_inner()), BytesMut::from(&*read_buf))
            }
            Err(upgraded) => (Self::Upgraded(TokioIo::new(upgraded)), BytesMut::new()),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Upgraded(upgraded) => Pin::new(upgraded).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Upgraded(upgraded) => Pin::new(upgraded).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Upgraded(upgraded) => Pin::new(upgraded).poll_write_vectored(cx, slices),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Upgraded(upgraded) => Pin::new(upgraded).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Upgraded(upgraded) => Pin::new(upgraded).poll_shutdown(cx),
        }
    }
}
