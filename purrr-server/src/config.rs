//! What an operator can set: [`Config`], and [`Options`], which read it from flags, variables and a file.
//!
//! A flag beats a variable, a variable beats the file, and the file beats the default.

use std::{net::SocketAddr, time::Duration};

use purrr_core::{Hub, Interests, Limits};

use crate::cli::{Backend, ConfigError};
pub use crate::net::cidr::{Network, NetworkError};

/// What a server does and allows. Built from [`Config::default`] by changing fields.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Where to listen. Default `0.0.0.0:3007`; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Where people wait and frames flow. Default memory.
    pub backend: Backend,
    /// Origins of web pages that may connect, beside the page's own. Default `http://localhost:3000`.
    pub allowed_origins: Vec<String>,
    /// Networks of reverse proxies, whose `X-Forwarded-For` or `Forwarded` tells who is behind them. Default none.
    pub trusted_proxies: Vec<Network>,
    /// WebSockets and Engine.IO sessions at once, from 1. Default 100,000, which hold 1.5 GB while nothing is said: about
    /// 15 KB each, apart from what the system holds for their sockets.
    pub max_connections: usize,
    /// The same from one address, or from one network of 2^64 IPv6 addresses; 0 sets no limit. Default 1,000: more than a
    /// school behind one address brings, and a hundredth of what there is for all.
    pub max_connections_per_address: usize,
    /// Connections that may begin in a second from one address, from 1; twice as many may at once. Default 500. Of the last
    /// 65,536 addresses about 410 bytes each are remembered, 27 MB.
    pub connects_per_second: u32,
    /// Rate limits of one address, as a multiple of those of one client. Default: 50. 0 disables.
    pub rates_per_address: u32,
    /// Whether anything is refused for coming too fast, connections and what is said on them. Default yes.
    pub rate_limits: bool,
    /// What is accepted from one visitor.
    pub limits: Limits,
    /// Pixels that a picture may say it has, its width times its height, unless only the two can read it. Default 100,000,000,
    /// for which whoever shows it makes room for 400 MB. What it says stands in its header; nothing is decoded.
    pub image_pixels: u64,
    /// Frames of a picture that moves. Default 1,000.
    pub image_frames: u32,
    /// Bytes of one message on either transport, from 1,024. Default 12,000,000; a connection holds at most this much of a
    /// message that is still arriving, and as much on its way out, and gives both back.
    pub max_payload: usize,
    /// Bytes of messages above 64 KiB that are held for all connections together: while they come, wait and go. Default
    /// 1,073,741,824; above it further ones are refused with `overloaded`. Another form of one that was let in, as for a
    /// partner on the other dialect, is let in too, so that there may be half as much again for a moment.
    pub buffered_bytes: usize,
    /// How much of that the connections of one address may have, counted at the sender. Default 268,435,456; 0 sets no
    /// limit, and there is none without `rate_limits`.
    pub buffered_bytes_per_address: usize,
    /// How often a silent connection is asked whether it is still there. Default 25 s. The first question comes after half of
    /// it to all of it, so that those who came together are not asked together.
    pub ping_interval: Duration,
    /// How long the answer may take. Default 20 s.
    pub ping_timeout: Duration,
    /// The same for somebody who waits or chats, whom somebody else depends on, the first question included. Default 5 s, and
    /// never longer than `ping_interval`.
    pub chat_ping_interval: Duration,
    /// How long the answer may take then. Default 4 s, and never longer than `ping_timeout`. While it is more than a second
    /// late, nobody is paired with the one who owes it.
    pub chat_ping_timeout: Duration,
    /// How long a Socket.IO connection may take to say which namespace it wants. Default 45 s.
    pub connect_timeout: Duration,
    /// How long a client may take to send the head of a request, its first byte, and the next request. Default 5 s; until
    /// then up to 32 KB of the head are held.
    pub header_timeout: Duration,
    /// How long a client may take to send the body of a request or a WebSocket message above 64 KiB, or to take a polling session
    /// over to a WebSocket. Default 10 s, and for a body or a message a second more for each 8 KiB that have come;
    /// until then up to `max_payload` bytes are held.
    pub body_timeout: Duration,
    /// How long a client may leave an answer untaken before its socket is closed. Default 60 s; until then up to one message
    /// of `max_payload` bytes is held. Over a WebSocket it is [`Limits::stall`](purrr_core::Limits::stall) that counts.
    pub idle_timeout: Duration,
    /// How long chats may go on after the server was told to stop. Whoever has none is let go at some moment of the first
    /// half. Default 20 s.
    pub drain: Duration,
    /// When a search widens from interests to languages, and from languages to anyone. Default 5 s and 20 s.
    pub widen_after: [Duration; 2],
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 3007)),
            backend: Backend::default(),
            allowed_origins: vec!["http://localhost:3000".to_owned()],
            trusted_proxies: Vec::new(),
            max_connections: 100_000,
            max_connections_per_address: 1_000,
            connects_per_second: 500,
            rates_per_address: 50,
            rate_limits: true,
            limits: Limits::default(),
            image_pixels: 100_000_000,
            image_frames: 1_000,
            max_payload: 12_000_000,
            buffered_bytes: 1 << 30,
            buffered_bytes_per_address: 1 << 28,
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            chat_ping_interval: Duration::from_secs(5),
            chat_ping_timeout: Duration::from_secs(4),
            connect_timeout: Duration::from_secs(45),
            header_timeout: Duration::from_secs(5),
            body_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            drain: Duration::from_secs(20),
            widen_after: [Duration::from_secs(5), Duration::from_secs(20)],
        }
    }
}

impl Config {
    /// A hub on this configuration's backend that goes by its limits and schedule.
    #[must_use]
    pub fn hub(&self) -> Hub {
        let [language, anyone] = self.widen_after;
        let rule = Interests::default().widen_after(language, anyone);
        let mut limits = self.limits.clone();
        limits.rates = limits.rates.filter(|_| self.rate_limits);
        let builder = Hub::builder().rule(rule).limits(limits);
        match self.backend {
            // What a builder has unless it is told otherwise.
            Backend::Memory => builder.build(),
        }
    }
}

impl Config {
    /// Refuses what cannot be.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let bad =
            |option, message: &str| Err(ConfigError::Bad { option, message: message.to_owned() });
        // A picture on Socket.IO is a string with a few bytes of event around it.
        if self.max_payload < self.limits.image_bytes.saturating_add(1_024) {
            return bad("--max-payload", "must be at least --image-bytes and 1,024 more");
        }
        if self.max_payload < self.limits.message_bytes.saturating_add(1_024) {
            return bad("--max-payload", "must be at least --message-bytes and 1,024 more");
        }
        if self.buffered_bytes < self.max_payload {
            return bad("--buffered-bytes", "must be at least --max-payload");
        }
        if (1..self.max_payload).contains(&self.buffered_bytes_per_address) {
            return bad("--buffered-bytes-per-address", "must be 0 or at least --max-payload");
        }
        if let Some(origin) = self.allowed_origins.iter().find(|origin| !is_origin(origin)) {
            let message = format!("must be an origin such as https://chat.example, not {origin:?}");
            return bad("--allowed-origin", &message);
        }
        if self.max_connections == 0 {
            return bad("--max-connections", "must be at least 1");
        }
        if self.connects_per_second == 0 {
            return bad(
                "--connects-per-second",
                "must be at least 1; --rate-limits off sets no limit",
            );
        }
        if self.limits.queue_items == 0 {
            return bad("--queue-items", "must be at least 1");
        }
        let rates = self.limits.rates.clone().unwrap_or_default();
        for (option, rate) in [
            ("--message-rate", rates.message_rate),
            ("--byte-rate", rates.byte_rate),
            ("--typing-rate", rates.typing_rate),
            ("--signal-rate", rates.signal_rate),
            ("--find-rate", rates.find_rate),
            ("--refusal-rate", rates.refusal_rate),
        ] {
            if rate.per_second == 0 || rate.burst == 0 {
                return bad(option, "must be at least 1+1");
            }
        }
        for (option, time) in [
            ("--ping-interval", self.ping_interval),
            ("--ping-timeout", self.ping_timeout),
            ("--chat-ping-interval", self.chat_ping_interval),
            ("--chat-ping-timeout", self.chat_ping_timeout),
            ("--connect-timeout", self.connect_timeout),
            ("--header-timeout", self.header_timeout),
            ("--body-timeout", self.body_timeout),
            ("--idle-timeout", self.idle_timeout),
            ("--stall", self.limits.stall),
        ] {
            if time.is_zero() {
                return bad(option, "must be longer than 0s");
            }
        }
        Ok(())
    }
}

/// Whether this could be the origin of a page: a scheme and a host, and no path.
fn is_origin(text: &str) -> bool {
    let parts = text.strip_suffix('/').unwrap_or(text).split_once("://");
    parts.is_some_and(|(scheme, host)| {
        let in_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        let in_host = |byte: u8| byte.is_ascii_graphic() && !b"/?#@*".contains(&byte);
        !scheme.is_empty()
            && !host.is_empty()
            && scheme.bytes().all(in_scheme)
            && host.bytes().all(in_host)
    })
}
