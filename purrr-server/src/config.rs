//! What a server does and allows, as plain data: [`Config`] of the routes, and [`ServerConfig`].
//!
//! Each field has the name of its flag: `max_payload` is set by `--max-payload`.

use std::{
    fmt,
    net::{Ipv6Addr, SocketAddr},
    num::{NonZeroU32, NonZeroUsize},
    str::FromStr,
    time::Duration,
};

use purrr_core::{Hub, HubBuilder, Interests, Limits, model::Rate};

pub use crate::net::{
    cidr::{Network, NetworkError},
    origin::{Origin, OriginError},
};

/// What the routes do and allow. Built from [`Config::default`] by changing fields.
///
/// The limits of one client are those of the hub, its [`Limits`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// The origins of web pages that may connect. Default: `http://localhost:3000`.
    ///
    /// Pages that this server serves may always connect.
    pub allowed_origin: Vec<Origin>,
    /// The networks of trusted reverse proxies. Default: none.
    ///
    /// The client address is read from `X-Forwarded-For` or `Forwarded` of these proxies.
    /// The headers are ignored from all other peers.
    pub trusted_proxy: Vec<Network>,
    /// The maximum number of WebSockets and Engine.IO sessions. Default: 100,000. Range: from 1.
    ///
    /// Worst case: 1.5 GB while idle, at 15 KB each, without the kernel's socket buffers.
    pub max_connections: NonZeroUsize,
    /// The maximum number of connections of one address. Default: 1,000. 0 disables.
    ///
    /// An address is one IPv4 address or an IPv6 /64, here and below.
    pub max_connections_per_address: usize,
    /// The limits of an IPv6 /56, in those of an address. Default: 4. 0 disables.
    ///
    /// A /48 has as many times the limits of a /56. Applies to all limits of an address, here and
    /// below. Of the memory budget a /56 or /48 has at most half.
    pub ipv6_prefix_factor: u32,
    /// The maximum number of polling sessions whose client has sent nothing. Default: 10,000.
    ///
    /// 0 disables. Above it a session of the network with the most is evicted, or 503. Worst case:
    /// 60 MB, at 6 KB each.
    pub provisional_sessions: usize,
    /// The maximum number of those sessions of one address. Default: 500. 0 disables.
    ///
    /// Disabled without `rate_limits`.
    pub provisional_sessions_per_address: usize,
    /// The timeout for the first packet of a polling session. Default: 15 s. Range: above 0.
    pub provisional_timeout: Duration,
    /// New connections per second of one address. Default: 500. Range: from 1.
    ///
    /// The burst is twice as much. Worst case: 410 bytes for each of the last 65,536 addresses,
    /// 27 MB.
    pub connects_per_second: NonZeroU32,
    /// The rate of HTTP requests from one address. Default: 1,000 per second, burst 20,000.
    ///
    /// Requests of polling sessions are not counted here. Worst case: 120 bytes for each of the
    /// last 65,536 addresses, 8 MB.
    pub request_rate: Rate,
    /// The rate of HTTP requests of one polling session. Default: 200 per second, burst 8,000.
    ///
    /// That is a POST and a GET for each message at the default `message_rate`. The sessions of one
    /// address have `rates_per_address` times as much. Worst case: as for `request_rate`.
    pub polling_rate: Rate,
    /// The rate limits of one address, in those of full clients. Default: 50. 0 disables.
    pub rates_per_address: u32,
    /// Whether rate limits apply, to connections and to what they send. Default: yes.
    pub rate_limits: bool,
    /// The maximum number of pixels in an image header. Default: 100,000,000.
    ///
    /// Not checked in encrypted chats. Nothing is decoded here; a viewer needs 400 MB for it.
    pub image_pixels: u64,
    /// The maximum number of frames of an animated image. Default: 1,000.
    pub image_frames: u32,
    /// The maximum size of a command that is no message or call signal, in bytes. Default: 16,384.
    ///
    /// Range: from 1,024. Above it a command is refused with `too-long` before it is parsed.
    pub command_bytes: usize,
    /// The maximum size of one message on the wire, in bytes. Default: 12,000,000.
    ///
    /// Range: 1,024 more than `message_bytes` and `image_bytes`. Worst case: twice as much for
    /// each connection, one message in and one out, all of it in `buffered_bytes`.
    pub max_payload: usize,
    /// The memory budget for messages over 16 KiB, in bytes. Default: 1 GiB.
    ///
    /// Range: from `max_payload`. Counted from the first byte received to the last byte sent. Above
    /// it a message is refused with `overloaded`. Small messages count while a queue holds more than
    /// 16 KiB of them. Above it their sender is not read. Worst case: half as much again, while messages
    /// are converted for the other dialect.
    pub buffered_bytes: usize,
    /// The part of that budget for one address, in bytes. Default: 256 MiB. 0 disables.
    ///
    /// Range: from `max_payload`. Counted at the sender. Disabled without `rate_limits`.
    pub buffered_bytes_per_address: usize,
    /// The interval between pings to idle connections. Default: 25 s. Range: above 0.
    ///
    /// The first ping is jittered: it comes after 50 % to 100 % of the interval.
    pub ping_interval: Duration,
    /// The timeout of the pong of an idle connection. Default: 20 s. Range: above 0.
    pub ping_timeout: Duration,
    /// The interval between pings while waiting or in a chat. Default: 5 s. Range: above 0.
    ///
    /// Never longer than `ping_interval`, and jittered like it.
    pub chat_ping_interval: Duration,
    /// The timeout of the pong while waiting or in a chat. Default: 8 s. Range: above 0.
    ///
    /// A line may carry nothing for so long before its chat ends.
    /// Never longer than `ping_timeout`. A client whose pong is 1 s overdue is not matched.
    pub chat_ping_timeout: Duration,
    /// The timeout for a Socket.IO client to join its namespace. Default: 45 s. Range: above 0.
    pub connect_timeout: Duration,
    /// The timeout of a request body, a WebSocket message or an Engine.IO upgrade.
    ///
    /// Default: 10 s. Range: above 0. Extended by 1 s per 8 KiB received, a minimum rate of
    /// 8 KiB/s. Worst case: `max_payload` bytes for each connection.
    pub body_timeout: Duration,
    /// The time after which a search accepts a shared language. Default: 5 s.
    pub language_after: Duration,
    /// The time after which a search accepts anyone. Default: 20 s.
    pub anyone_after: Duration,
    /// The calls that the page offers. Default: voice and video.
    pub calls: Calls,
    /// The STUN and TURN servers that the page uses for calls. Default: none.
    pub ice_server: Vec<IceServer>,
    /// The shared secret of the TURN servers. Default: none.
    ///
    /// With it each client is told credentials that expire after a day.
    pub ice_secret: Secret,
    /// The path below which browsers see the routes. Default: none.
    ///
    /// Needed behind a proxy that strips a path without a slash at its end, or that moves it.
    pub base_path: BasePath,
    /// The origins of sites that may show the page in a frame. Default: none.
    pub frame_ancestor: Vec<Origin>,
    /// The name of the site on the page. Default: `purrr`.
    pub page_title: String,
    /// A notice on the start page. Default: none.
    pub page_notice: String,
    /// Where the page's link to the rules leads. Default: none.
    pub terms_url: PageUrl,
    /// Where the page's link to the privacy statement leads. Default: none.
    pub privacy_url: PageUrl,
    /// Where the page's link to a contact leads. Default: none.
    pub contact_url: PageUrl,
    /// The minimum age that the page states, in years. Default: 0, which states none.
    pub minimum_age: u32,
}

/// How [`run`](crate::run) guards the connections of a server.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Guards {
    /// The timeout of the first byte and of each request head. Default: 5 s. Range: above 0.
    ///
    /// Worst case: 32 KB of a head for each connection.
    pub header_timeout: Duration,
    /// The timeout between two requests of a connection. Default: 75 s. Range: above 0.
    ///
    /// Longer than load balancers keep an idle connection, so that they close it first.
    pub keep_alive_timeout: Duration,
    /// The write timeout of HTTP responses. Default: 60 s. Range: above 0.
    ///
    /// Worst case: `max_payload` bytes for each connection. Over a WebSocket
    /// [`Limits::stall`](purrr_core::Limits::stall) applies.
    pub idle_timeout: Duration,
    /// The time for chats to finish at shutdown. Default: 8 s: container runtimes kill after 10 s.
    ///
    /// Connections without a chat are closed at random times during the first half.
    pub drain: Duration,
}

/// What a whole server is set to. Built from [`ServerConfig::default`] by changing fields.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerConfig {
    /// The address and port to listen on. Default: `[::]:3007`. Port 0 lets the system choose.
    ///
    /// `[::]` is all addresses of both families, or of IPv4 alone where the system has no IPv6.
    pub listen: SocketAddr,
    /// The address of probes and metrics. Default: none.
    ///
    /// With it `/metrics` and `/healthz` are served there alone.
    pub admin_listen: Option<SocketAddr>,
    /// Where peers wait and chats run. Default: memory.
    pub backend: Backend,
    /// The limits of one client.
    pub limits: Limits,
    /// How connections are guarded.
    pub guards: Guards,
    /// What the routes do and allow.
    pub routes: Config,
}

/// The calls that the page offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Calls {
    /// None. Calls of other clients are relayed all the same.
    Off,
    /// Voice alone.
    Voice,
    /// Voice and video.
    #[default]
    Video,
}

/// The URL of a STUN or TURN server, such as `turn:turn.example:3478`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IceServer(String);

/// A text that is not shown in logs.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

/// A link of the page, or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageUrl(String);

/// An absolute path that ends in a slash, such as `/chat/`, or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BasePath(String);

/// Where peers wait and chats run, written as a URL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backend {
    /// This process, written as `memory:`.
    #[default]
    Memory,
}

/// A setting whose value does not go with the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("--{setting} {requirement}")]
#[non_exhaustive]
pub struct ConfigError {
    /// The setting, by the name of its flag.
    pub setting: &'static str,
    /// What its value must be.
    pub requirement: &'static str,
}

/// A text that names no [`Backend`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be `memory:`{}", unknown_scheme(.0))]
pub struct BackendError(String);

/// A text that names none of [`Calls`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be off, voice or video")]
pub struct CallsError;

/// A text that is no [`IceServer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a URL such as stun:stun.example:3478 or turns:turn.example:5349")]
pub struct IceServerError;

/// A text that is no [`BasePath`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a path such as /chat/")]
pub struct BasePathError;

/// A text that is no [`PageUrl`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must begin with https://, http://, mailto: or /")]
pub struct PageUrlError;

impl Default for Config {
    fn default() -> Self {
        Self {
            allowed_origin: vec!["http://localhost:3000".parse().expect("an origin")],
            trusted_proxy: Vec::new(),
            max_connections: const { NonZeroUsize::new(100_000).unwrap() },
            max_connections_per_address: 1_000,
            ipv6_prefix_factor: 4,
            provisional_sessions: 10_000,
            provisional_sessions_per_address: 500,
            provisional_timeout: Duration::from_secs(15),
            connects_per_second: const { NonZeroU32::new(500).unwrap() },
            request_rate: Rate::new(1_000, 20_000),
            polling_rate: Rate::new(200, 8_000),
            rates_per_address: 50,
            rate_limits: true,
            image_pixels: 100_000_000,
            image_frames: 1_000,
            command_bytes: 16_384,
            max_payload: 12_000_000,
            buffered_bytes: 1 << 30,
            buffered_bytes_per_address: 1 << 28,
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            chat_ping_interval: Duration::from_secs(5),
            chat_ping_timeout: Duration::from_secs(8),
            connect_timeout: Duration::from_secs(45),
            body_timeout: Duration::from_secs(10),
            language_after: Duration::from_secs(5),
            anyone_after: Duration::from_secs(20),
            calls: Calls::default(),
            ice_server: Vec::new(),
            ice_secret: Secret::default(),
            base_path: BasePath::default(),
            frame_ancestor: Vec::new(),
            page_title: "purrr".to_owned(),
            page_notice: String::new(),
            terms_url: PageUrl::default(),
            privacy_url: PageUrl::default(),
            contact_url: PageUrl::default(),
            minimum_age: 0,
        }
    }
}

impl Default for Guards {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(5),
            keep_alive_timeout: Duration::from_secs(75),
            idle_timeout: Duration::from_secs(60),
            drain: Duration::from_secs(8),
        }
    }
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv6Addr::UNSPECIFIED, 3007)),
            admin_listen: None,
            backend: Backend::default(),
            limits: Limits::default(),
            guards: Guards::default(),
            routes: Config::default(),
        }
    }
}

impl From<Config> for ServerConfig {
    fn from(routes: Config) -> Self {
        Self { routes, ..Self::default() }
    }
}

impl ServerConfig {
    /// Creates a hub on this configuration's backend, with its limits and its rule.
    #[must_use]
    pub fn hub(&self) -> Hub {
        self.hub_builder().build()
    }

    /// Returns the builder of that hub, to change what it is built of.
    #[must_use]
    pub fn hub_builder(&self) -> HubBuilder {
        let builder = self.routes.hub_builder(self.limits.clone());
        match self.backend {
            // The builder's own default.
            Backend::Memory => builder,
        }
    }

    /// Checks the settings that depend on each other, and times and rates for zero.
    ///
    /// # Errors
    ///
    /// The first setting that cannot have its value.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.routes.validate(&self.limits)?;
        self.guards.validate()
    }
}

impl Guards {
    /// Checks the times for zero.
    ///
    /// # Errors
    ///
    /// The first setting that cannot have its value.
    pub fn validate(&self) -> Result<(), ConfigError> {
        check_times(&[
            ("header-timeout", self.header_timeout),
            ("keep-alive-timeout", self.keep_alive_timeout),
            ("idle-timeout", self.idle_timeout),
        ])
    }
}

impl Config {
    /// Returns the builder of a hub with these limits, and with the rule that the page describes.
    ///
    /// Without `rate_limits` the hub has no rates, counts no waiting places and blocks no addresses.
    #[must_use]
    pub fn hub_builder(&self, mut limits: Limits) -> HubBuilder {
        let rule = Interests::default().widen_after(self.language_after, self.anyone_after);
        limits.rates = limits.rates.filter(|_| self.rate_limits);
        if !self.rate_limits {
            (limits.waiting_per_person, limits.waiting_per_address) = (0, 0);
            limits.block_address_for = Duration::ZERO;
        }
        Hub::builder().rule(rule).limits(limits)
    }

    /// Checks the settings that depend on each other and on the limits of the hub, and times and
    /// rates for zero.
    ///
    /// # Errors
    ///
    /// The first setting that cannot have its value.
    pub fn validate(&self, limits: &Limits) -> Result<(), ConfigError> {
        let fail = |setting, requirement| Err(ConfigError { setting, requirement });
        // An image on Socket.IO is a string with a few bytes of event around it.
        if self.max_payload < limits.image_bytes.saturating_add(1_024) {
            return fail("max-payload", "must be at least --image-bytes and 1,024 more");
        }
        if self.max_payload < limits.message_bytes.saturating_add(1_024) {
            return fail("max-payload", "must be at least --message-bytes and 1,024 more");
        }
        if !self.frame_ancestor.iter().all(Origin::has_host) {
            return fail("frame-ancestor", "must be an origin with a host");
        }
        if self.command_bytes < 1_024 {
            return fail("command-bytes", "must be at least 1,024");
        }
        if self.buffered_bytes < self.max_payload {
            return fail("buffered-bytes", "must be at least --max-payload");
        }
        if (1..self.max_payload).contains(&self.buffered_bytes_per_address) {
            return fail("buffered-bytes-per-address", "must be 0 or at least --max-payload");
        }
        if limits.queue_items == 0 {
            return fail("queue-items", "must be at least 1");
        }
        let rates = limits.rates.clone().unwrap_or_default();
        let rates = [
            ("message-rate", rates.message_rate),
            ("byte-rate", rates.byte_rate),
            ("typing-rate", rates.typing_rate),
            ("signal-rate", rates.signal_rate),
            ("find-rate", rates.find_rate),
            ("refusal-rate", rates.refusal_rate),
            ("request-rate", self.request_rate),
            ("polling-rate", self.polling_rate),
        ];
        if let Some((setting, _)) =
            rates.iter().find(|(_, rate)| rate.per_second.min(rate.burst) == 0)
        {
            return fail(setting, "must be at least 1+1");
        }
        check_times(&[
            ("ping-interval", self.ping_interval),
            ("ping-timeout", self.ping_timeout),
            ("chat-ping-interval", self.chat_ping_interval),
            ("chat-ping-timeout", self.chat_ping_timeout),
            ("connect-timeout", self.connect_timeout),
            ("provisional-timeout", self.provisional_timeout),
            ("body-timeout", self.body_timeout),
            ("stall", limits.stall),
        ])
    }
}

/// Checks that no time is zero.
fn check_times(times: &[(&'static str, Duration)]) -> Result<(), ConfigError> {
    let requirement = "must be longer than 0s";
    let zero = times.iter().find(|(_, time)| time.is_zero());
    zero.map_or(Ok(()), |(setting, _)| Err(ConfigError { setting, requirement }))
}

impl FromStr for Backend {
    type Err = BackendError;

    fn from_str(url: &str) -> Result<Self, BackendError> {
        if url == "memory:" {
            return Ok(Self::Memory);
        }
        // The rest of a URL may hold a password.
        Err(BackendError(url.split_once(':').unwrap_or_default().0.to_owned()))
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "memory:",
        })
    }
}

impl Calls {
    /// Returns the word that names it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Voice => "voice",
            Self::Video => "video",
        }
    }
}

impl FromStr for Calls {
    type Err = CallsError;

    fn from_str(text: &str) -> Result<Self, CallsError> {
        let all = [Self::Off, Self::Voice, Self::Video];
        all.into_iter().find(|calls| calls.as_str() == text).ok_or(CallsError)
    }
}

impl fmt::Display for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl IceServer {
    /// Returns the URL.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns true if it is a TURN server, which wants credentials.
    #[must_use]
    pub fn is_turn(&self) -> bool {
        self.0.starts_with("turn")
    }
}

impl FromStr for IceServer {
    type Err = IceServerError;

    fn from_str(url: &str) -> Result<Self, IceServerError> {
        let (scheme, rest) = url.split_once(':').ok_or(IceServerError)?;
        let known = ["stun", "stuns", "turn", "turns"].contains(&scheme);
        let plain = !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_graphic());
        if known && plain { Ok(Self(url.to_owned())) } else { Err(IceServerError) }
    }
}

impl fmt::Display for IceServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Secret {
    /// Returns the text.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "none" } else { "(secret)" })
    }
}

impl BasePath {
    /// Returns the path, or an empty string.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for BasePath {
    type Err = BasePathError;

    /// Parses a path that begins with one slash. A missing slash at its end is added.
    fn from_str(path: &str) -> Result<Self, BasePathError> {
        if path.is_empty() {
            return Ok(Self::default());
        }
        let path = path.strip_suffix('/').unwrap_or(path);
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"\"'<>\\?#`{}|^".contains(&byte);
        // Two slashes would begin the name of a host.
        let is_segment =
            |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(is_plain);
        match path.strip_prefix('/') {
            None if !path.is_empty() => Err(BasePathError),
            Some(rest) if !rest.split('/').all(is_segment) => Err(BasePathError),
            _ => Ok(Self(format!("{path}/"))),
        }
    }
}

impl fmt::Display for BasePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl PageUrl {
    /// Returns the URL, or an empty string.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PageUrl {
    type Err = PageUrlError;

    fn from_str(url: &str) -> Result<Self, PageUrlError> {
        let starts = ["https://", "http://", "mailto:", "/"];
        if url.is_empty() || starts.iter().any(|start| url.starts_with(start)) {
            return Ok(Self(url.to_owned()));
        }
        Err(PageUrlError)
    }
}

impl fmt::Display for PageUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn unknown_scheme(scheme: &str) -> String {
    match scheme {
        "" | "memory" => String::new(),
        other => format!("; this program has no backend for `{other}:`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_path_begins_and_ends_with_a_slash() {
        for (text, path) in
            [("", ""), ("/", "/"), ("/chat", "/chat/"), ("/a/b-c/", "/a/b-c/"), ("/%41", "/%41/")]
        {
            assert_eq!(text.parse::<BasePath>().map(|path| path.0), Ok(path.to_owned()));
        }
        for wrong in ["chat", "//evil.example", "/a//b", "/a/../b", "/.", "/a?b", "/a b", "/\"x"] {
            assert_eq!(wrong.parse::<BasePath>(), Err(BasePathError), "{wrong}");
        }
    }

    #[test]
    fn default_config_is_valid() {
        assert_eq!(ServerConfig::default().validate(), Ok(()));
    }
}
