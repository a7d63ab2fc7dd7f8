//! What an operator can set: [`Config`], and [`Options`], which read it from flags, variables and a file.
//!
//! A flag beats a variable, a variable beats the file, and the file beats the default.

use std::{
    collections::BTreeSet, fmt, net::SocketAddr, path::PathBuf, str::FromStr, time::Duration,
};

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use purrr_core::{Hub, Interests, Limits};
use serde::{Deserialize, Serialize};

pub use crate::admission::{Network, NetworkError};
use crate::heartbeat::{Heartbeat, Pace};

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
    /// 65,536 addresses about 100 bytes each are remembered, 6.5 MB.
    pub connects_per_second: u32,
    /// Whether anything is refused for coming too fast. Default yes.
    pub rate_limits: bool,
    /// What is accepted from one visitor.
    pub limits: Limits,
    /// Bytes of one message on either transport, from 1,024. Default 12,000,000; a connection holds at most this much of a
    /// message that is still arriving, and as much on its way out, and gives both back.
    pub max_payload: usize,
    /// How often a silent connection is asked whether it is still there. Default 25 s.
    pub ping_interval: Duration,
    /// How long the answer may take. Default 20 s.
    pub ping_timeout: Duration,
    /// The same for somebody who waits or chats, whom somebody else depends on. Default 5 s, and never longer than
    /// `ping_interval`.
    pub chat_ping_interval: Duration,
    /// How long the answer may take then. Default 4 s, and never longer than `ping_timeout`. While it is more than a second
    /// late, nobody is paired with the one who owes it.
    pub chat_ping_timeout: Duration,
    /// How long a Socket.IO connection may take to say which namespace it wants. Default 45 s.
    pub connect_timeout: Duration,
    /// How long a client may take to send the head of a request, its first byte, and the next request. Default 5 s; until
    /// then up to 32 KB of the head are held.
    pub header_timeout: Duration,
    /// How long a client may take to send the body of a request, or to take a polling session over to a WebSocket. Default
    /// 10 s, and for a body a second more for each 8 KiB that have come; until then up to `max_payload` bytes are held.
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

/// Where people wait and frames flow, written as a URL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backend {
    /// In this process, written as `memory:`.
    #[default]
    Memory,
}

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "purrr-server",
    version,
    about = "Random chat between strangers: a web page, WebSocket and Socket.IO over one lobby",
    after_help = "Every option can also be given as the variable shown with it, or in the file of --config under its name \
                  without the dashes. A TIME is written as 20s, 500ms or 1m 30s; a number alone is in milliseconds. A flag beats a variable, a variable the file, the file the default."
)]
pub struct Cli {
    /// What to do instead of running the server.
    #[command(subcommand)]
    pub action: Option<Action>,
    /// Read options from this TOML file.
    #[arg(long, env = "PURRR_CONFIG", value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Everything that can be set.
    #[command(flatten)]
    pub options: Options,
}

/// What the program does when it does not serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
#[non_exhaustive]
pub enum Action {
    /// Check flags, variables and file, and say what is wrong with them.
    CheckConfig,
    /// Print what is in force, as a file that --config can read.
    PrintConfig,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum LogFormat {
    /// For people on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
}

/// Whether something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Switch {
    /// It is.
    On,
    /// It is not.
    Off,
}

/// Options that were given, wherever they were.
#[derive(Args, Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Options {
    /// Address and port, or just the port [default: 0.0.0.0:3007; PORT changes the port].
    #[arg(long, env = "PURRR_LISTEN", value_name = "ADDRESS", help_heading = "Network")]
    pub listen: Option<String>,
    /// Let pages of this origin connect; repeat for more [default: http://localhost:3000, or HOST_URL, separated by spaces].
    #[arg(
        long,
        env = "PURRR_ALLOWED_ORIGIN",
        value_name = "ORIGIN",
        value_delimiter = ' ',
        help_heading = "Network"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_origin: Option<Vec<String>>,
    /// Believe the X-Forwarded-For or Forwarded of proxies in this network, such as 10.0.0.0/8; repeat for more [default: none].
    #[arg(
        long,
        env = "PURRR_TRUSTED_PROXY",
        value_name = "CIDR",
        value_delimiter = ' ',
        help_heading = "Network"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trusted_proxy: Option<Vec<Network>>,
    /// Time for the head of a request, for its first byte, and between two requests [default: 5s].
    #[arg(long, env = "PURRR_HEADER_TIMEOUT", value_name = "TIME", help_heading = "Network")]
    pub header_timeout: Option<Span>,
    /// Time between two questions whether a connection is still there [default: 25s].
    #[arg(long, env = "PURRR_PING_INTERVAL", value_name = "TIME", help_heading = "Network")]
    pub ping_interval: Option<Span>,
    /// Time for the answer [default: 20s].
    #[arg(long, env = "PURRR_PING_TIMEOUT", value_name = "TIME", help_heading = "Network")]
    pub ping_timeout: Option<Span>,
    /// Time between two such questions to somebody who waits or chats [default: 5s].
    #[arg(long, env = "PURRR_CHAT_PING_INTERVAL", value_name = "TIME", help_heading = "Network")]
    pub chat_ping_interval: Option<Span>,
    /// Time for the answer of somebody who waits or chats [default: 4s].
    #[arg(long, env = "PURRR_CHAT_PING_TIMEOUT", value_name = "TIME", help_heading = "Network")]
    pub chat_ping_timeout: Option<Span>,
    /// Time for a Socket.IO client to name its namespace [default: 45s].
    #[arg(long, env = "PURRR_CONNECT_TIMEOUT", value_name = "TIME", help_heading = "Network")]
    pub connect_timeout: Option<Span>,
    /// Time for the body of a request, beside a second for each 8 KiB, or for a WebSocket to take a polling session over
    /// [default: 10s].
    #[arg(long, env = "PURRR_BODY_TIMEOUT", value_name = "TIME", help_heading = "Network")]
    pub body_timeout: Option<Span>,
    /// Time for which a client may take nothing of what it is sent [default: 1m].
    #[arg(long, env = "PURRR_IDLE_TIMEOUT", value_name = "TIME", help_heading = "Network")]
    pub idle_timeout: Option<Span>,
    /// Connections at once; above it 503 [default: 100000].
    #[arg(long, env = "PURRR_MAX_CONNECTIONS", value_name = "COUNT", help_heading = "Limits")]
    pub max_connections: Option<usize>,
    /// Connections at once from one address, or from one /64 of IPv6; above it 503, 0 for no limit [default: 1000].
    #[arg(
        long,
        env = "PURRR_MAX_CONNECTIONS_PER_ADDRESS",
        value_name = "COUNT",
        help_heading = "Limits"
    )]
    pub max_connections_per_address: Option<usize>,
    /// Connections that may begin in a second from one address, twice as many at once; above it 429 [default: 500].
    #[arg(long, env = "PURRR_CONNECTS_PER_SECOND", value_name = "COUNT", help_heading = "Limits")]
    pub connects_per_second: Option<u32>,
    /// Whether anything is refused for coming too fast [default: on].
    #[arg(long, env = "PURRR_RATE_LIMITS", value_name = "SWITCH", help_heading = "Limits")]
    pub rate_limits: Option<Switch>,
    /// Bytes of one message on the wire; above it the connection is closed [default: 12000000].
    #[arg(long, env = "PURRR_MAX_PAYLOAD", value_name = "BYTES", help_heading = "Limits")]
    pub max_payload: Option<usize>,
    /// Bytes of a text [default: 262144].
    #[arg(long, env = "PURRR_MESSAGE_BYTES", value_name = "BYTES", help_heading = "Limits")]
    pub message_bytes: Option<usize>,
    /// Bytes of a picture [default: 9500000].
    #[arg(long, env = "PURRR_IMAGE_BYTES", value_name = "BYTES", help_heading = "Limits")]
    pub image_bytes: Option<usize>,
    /// Characters of a name [default: 256].
    #[arg(long, env = "PURRR_NAME_CHARS", value_name = "COUNT", help_heading = "Limits")]
    pub name_chars: Option<usize>,
    /// Interests in one search [default: 32].
    #[arg(long, env = "PURRR_INTERESTS", value_name = "COUNT", help_heading = "Limits")]
    pub interests: Option<usize>,
    /// Time for which somebody may hold up a chat by not reading [default: 10s].
    #[arg(long, env = "PURRR_STALL", value_name = "TIME", help_heading = "Limits")]
    pub stall: Option<Span>,
    /// Time after which a search goes on to a shared language [default: 5s].
    #[arg(long, env = "PURRR_LANGUAGE_AFTER", value_name = "TIME", help_heading = "Pairing")]
    pub language_after: Option<Span>,
    /// Time after which a search goes on to anyone [default: 20s].
    #[arg(long, env = "PURRR_ANYONE_AFTER", value_name = "TIME", help_heading = "Pairing")]
    pub anyone_after: Option<Span>,
    /// Last partners whom nobody meets again at once [default: 5; 0 for whoever is there].
    #[arg(long, env = "PURRR_RECENT_PARTNERS", value_name = "COUNT", help_heading = "Pairing")]
    pub recent_partners: Option<usize>,
    /// Time for which they are avoided, if somebody else is there [default: 10m].
    #[arg(long, env = "PURRR_RECENT_FOR", value_name = "TIME", help_heading = "Pairing")]
    pub recent_for: Option<Span>,
    /// Where people wait and chats run, as a URL; `memory:` is this process [default: memory:].
    #[arg(long, env = "PURRR_BACKEND", value_name = "URL", help_heading = "Running")]
    pub backend: Option<String>,
    /// Time that chats may take to finish when the server is told to stop [default: 20s].
    #[arg(long, env = "PURRR_DRAIN", value_name = "TIME", help_heading = "Running")]
    pub drain: Option<Span>,
    /// How log lines look; `auto` is pretty on a terminal and JSON elsewhere [default: auto].
    #[arg(long, env = "PURRR_LOG_FORMAT", value_name = "FORMAT", help_heading = "Running")]
    pub log_format: Option<LogFormat>,
    /// Which log lines are written, such as `info` or `purrr_core=debug` [default: info].
    #[arg(long, env = "PURRR_LOG", value_name = "FILTER", help_heading = "Running")]
    pub log: Option<String>,
}

/// A length of time, written as `20s`, `500ms` or `1m 30s`; a number alone is in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

/// Something an operator has to put right.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("{}: {message}", path.display())]
    BadFile {
        /// The file.
        path: PathBuf,
        /// What is wrong and where.
        message: String,
    },
    /// There is no such option.
    #[error("there is no option `{name}`{}", hint(nearest))]
    Unknown {
        /// What was given, as it was spelled.
        name: String,
        /// What was probably meant.
        nearest: Option<String>,
    },
    /// An option has a value it cannot have.
    #[error("{option} {message}")]
    Bad {
        /// The option.
        option: &'static str,
        /// What it must be.
        message: String,
    },
}

fn hint(nearest: &Option<String>) -> String {
    nearest.as_ref().map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
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
            rate_limits: true,
            limits: Limits::default(),
            max_payload: 12_000_000,
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
        let builder = Hub::builder().rule(rule).limits(self.limits.clone());
        match self.backend {
            // What a builder has unless it is told otherwise.
            Backend::Memory => builder.build(),
        }
    }
}

impl Config {
    /// When to ask a client whether it is still there.
    pub(crate) fn heartbeat(&self) -> Heartbeat {
        let calm = Pace { interval: self.ping_interval, patience: self.ping_timeout };
        let attentive = Pace {
            interval: self.chat_ping_interval.min(calm.interval),
            patience: self.chat_ping_timeout.min(calm.patience),
        };
        Heartbeat::new(calm, attentive)
    }
}

impl Cli {
    /// Puts flags, variables and the file together.
    ///
    /// # Errors
    ///
    /// A [`ConfigError`] that says what to put right.
    pub fn options(&self) -> Result<Options, ConfigError> {
        check_variables(std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()))?;
        let file = self.config.as_ref().map_or_else(|| Ok(Options::default()), read_file)?;
        Ok(self.options.clone().or_variables(|name| std::env::var(name).ok()).or(file))
    }
}

impl Options {
    /// What is in force, given these options.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Bad`] for a value that cannot be.
    pub fn resolve(&self) -> Result<Config, ConfigError> {
        let default = Config::default();
        let time = |given: Option<Span>, default| given.map_or(default, |span| span.0);
        let mut limits = Limits::default();
        limits.message_bytes = self.message_bytes.unwrap_or(limits.message_bytes);
        limits.image_bytes = self.image_bytes.unwrap_or(limits.image_bytes);
        limits.name_chars = self.name_chars.unwrap_or(limits.name_chars);
        limits.interests = self.interests.unwrap_or(limits.interests);
        limits.stall = time(self.stall, limits.stall);
        limits.recent_partners = self.recent_partners.unwrap_or(limits.recent_partners);
        limits.recent_for = time(self.recent_for, limits.recent_for);
        let config = Config {
            listen: self.listen.as_deref().map_or(Ok(default.listen), address)?,
            backend: self.backend.as_deref().map_or(Ok(default.backend), str::parse)?,
            allowed_origins: self.allowed_origin.clone().unwrap_or(default.allowed_origins),
            trusted_proxies: self.trusted_proxy.clone().unwrap_or(default.trusted_proxies),
            max_connections: self.max_connections.unwrap_or(default.max_connections),
            max_connections_per_address: self
                .max_connections_per_address
                .unwrap_or(default.max_connections_per_address),
            connects_per_second: self.connects_per_second.unwrap_or(default.connects_per_second),
            rate_limits: self
                .rate_limits
                .map_or(default.rate_limits, |limits| limits == Switch::On),
            max_payload: self.max_payload.unwrap_or(default.max_payload),
            ping_interval: time(self.ping_interval, default.ping_interval),
            ping_timeout: time(self.ping_timeout, default.ping_timeout),
            chat_ping_interval: time(self.chat_ping_interval, default.chat_ping_interval),
            chat_ping_timeout: time(self.chat_ping_timeout, default.chat_ping_timeout),
            connect_timeout: time(self.connect_timeout, default.connect_timeout),
            header_timeout: time(self.header_timeout, default.header_timeout),
            body_timeout: time(self.body_timeout, default.body_timeout),
            idle_timeout: time(self.idle_timeout, default.idle_timeout),
            drain: time(self.drain, default.drain),
            widen_after: [
                time(self.language_after, default.widen_after[0]),
                time(self.anyone_after, default.widen_after[1]),
            ],
            limits,
        };
        config.check()?;
        Ok(config)
    }

    /// These options as a file, with the defaults filled in.
    ///
    /// # Errors
    ///
    /// As [`resolve`](Self::resolve).
    pub fn print(&self) -> Result<String, ConfigError> {
        let config = self.resolve()?;
        let [language, anyone] = config.widen_after;
        let whole = Self {
            listen: Some(config.listen.to_string()),
            allowed_origin: Some(config.allowed_origins),
            trusted_proxy: Some(config.trusted_proxies),
            header_timeout: Some(Span(config.header_timeout)),
            ping_interval: Some(Span(config.ping_interval)),
            ping_timeout: Some(Span(config.ping_timeout)),
            chat_ping_interval: Some(Span(config.chat_ping_interval)),
            chat_ping_timeout: Some(Span(config.chat_ping_timeout)),
            connect_timeout: Some(Span(config.connect_timeout)),
            body_timeout: Some(Span(config.body_timeout)),
            idle_timeout: Some(Span(config.idle_timeout)),
            max_connections: Some(config.max_connections),
            max_connections_per_address: Some(config.max_connections_per_address),
            connects_per_second: Some(config.connects_per_second),
            rate_limits: Some(if config.rate_limits { Switch::On } else { Switch::Off }),
            max_payload: Some(config.max_payload),
            message_bytes: Some(config.limits.message_bytes),
            image_bytes: Some(config.limits.image_bytes),
            name_chars: Some(config.limits.name_chars),
            interests: Some(config.limits.interests),
            stall: Some(Span(config.limits.stall)),
            language_after: Some(Span(language)),
            anyone_after: Some(Span(anyone)),
            recent_partners: Some(config.limits.recent_partners),
            recent_for: Some(Span(config.limits.recent_for)),
            backend: Some(config.backend.to_string()),
            drain: Some(Span(config.drain)),
            log_format: Some(self.log_format.unwrap_or_default()),
            log: Some(self.log.clone().unwrap_or_else(|| "info".to_owned())),
        };
        Ok(toml::to_string(&whole).expect("options are strings, numbers and lists of them"))
    }

    /// Fills in what Purrr.chat's deployments set, where nothing better was given.
    fn or_variables(mut self, variable: impl Fn(&str) -> Option<String>) -> Self {
        self.listen = self.listen.or_else(|| variable("PORT"));
        if let Some(list) = variable("HOST_URL") {
            let origins = list.split_whitespace().map(str::to_owned);
            self.allowed_origin.get_or_insert_default().extend(origins);
        }
        self
    }

    fn or(self, file: Self) -> Self {
        Self {
            listen: self.listen.or(file.listen),
            allowed_origin: self.allowed_origin.or(file.allowed_origin),
            trusted_proxy: self.trusted_proxy.or(file.trusted_proxy),
            header_timeout: self.header_timeout.or(file.header_timeout),
            ping_interval: self.ping_interval.or(file.ping_interval),
            ping_timeout: self.ping_timeout.or(file.ping_timeout),
            chat_ping_interval: self.chat_ping_interval.or(file.chat_ping_interval),
            chat_ping_timeout: self.chat_ping_timeout.or(file.chat_ping_timeout),
            connect_timeout: self.connect_timeout.or(file.connect_timeout),
            body_timeout: self.body_timeout.or(file.body_timeout),
            idle_timeout: self.idle_timeout.or(file.idle_timeout),
            max_connections: self.max_connections.or(file.max_connections),
            max_connections_per_address: self
                .max_connections_per_address
                .or(file.max_connections_per_address),
            connects_per_second: self.connects_per_second.or(file.connects_per_second),
            rate_limits: self.rate_limits.or(file.rate_limits),
            max_payload: self.max_payload.or(file.max_payload),
            message_bytes: self.message_bytes.or(file.message_bytes),
            image_bytes: self.image_bytes.or(file.image_bytes),
            name_chars: self.name_chars.or(file.name_chars),
            interests: self.interests.or(file.interests),
            stall: self.stall.or(file.stall),
            language_after: self.language_after.or(file.language_after),
            anyone_after: self.anyone_after.or(file.anyone_after),
            recent_partners: self.recent_partners.or(file.recent_partners),
            recent_for: self.recent_for.or(file.recent_for),
            backend: self.backend.or(file.backend),
            drain: self.drain.or(file.drain),
            log_format: self.log_format.or(file.log_format),
            log: self.log.or(file.log),
        }
    }
}

impl Config {
    fn check(&self) -> Result<(), ConfigError> {
        let bad =
            |option, message: &str| Err(ConfigError::Bad { option, message: message.to_owned() });
        // A picture on Socket.IO is a string with a few bytes of event around it.
        if self.max_payload < self.limits.image_bytes.saturating_add(1_024) {
            return bad("--max-payload", "must be at least --image-bytes and 1,024 more");
        }
        if self.max_payload < self.limits.message_bytes.saturating_add(1_024) {
            return bad("--max-payload", "must be at least --message-bytes and 1,024 more");
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

fn address(text: &str) -> Result<SocketAddr, ConfigError> {
    let whole = if text.bytes().all(|byte| byte.is_ascii_digit()) {
        format!("0.0.0.0:{text}")
    } else {
        text.to_owned()
    };
    whole.parse().map_err(|_| ConfigError::Bad {
        option: "--listen",
        message: format!(
            "must be a port or an address and port such as 127.0.0.1:3007, not {text:?}"
        ),
    })
}

fn read_file(path: &PathBuf) -> Result<Options, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Unreadable { path: path.clone(), source })?;
    let bad = |message: String| ConfigError::BadFile { path: path.clone(), message };
    let table: toml::Table =
        text.parse().map_err(|error: toml::de::Error| bad(error.to_string()))?;
    let known = option_names();
    if let Some(name) = table.keys().find(|name| !known.contains(*name)) {
        return Err(unknown(name, known));
    }
    toml::from_str(&text).map_err(|error| bad(error.to_string()))
}

/// Refuses variables that look like ours and are not, since a misspelt limit is no limit.
fn check_variables(names: impl Iterator<Item = String>) -> Result<(), ConfigError> {
    let known: BTreeSet<String> = option_names()
        .into_iter()
        .chain(["config".to_owned()])
        .map(|name| format!("PURRR_{}", name.to_uppercase().replace('-', "_")))
        .collect();
    for name in names {
        if name.starts_with("PURRR_") && !known.contains(&name) && name != "PURRR_BIN" {
            return Err(unknown(&name, known));
        }
    }
    Ok(())
}

fn option_names() -> BTreeSet<String> {
    #[derive(Parser)]
    struct OptionsOnly {
        #[command(flatten)]
        _options: Options,
    }
    OptionsOnly::command()
        .get_arguments()
        .filter_map(|argument| argument.get_long().map(str::to_owned))
        .filter(|name| name != "help")
        .collect()
}

fn unknown(name: &str, known: BTreeSet<String>) -> ConfigError {
    let nearest = known
        .into_iter()
        .map(|known| (strsim::damerau_levenshtein(name, &known), known))
        .min()
        .filter(|(distance, known)| *distance <= known.len() / 2)
        .map(|(_, known)| known);
    ConfigError::Unknown { name: name.to_owned(), nearest }
}

impl FromStr for Backend {
    type Err = ConfigError;

    fn from_str(url: &str) -> Result<Self, ConfigError> {
        if url == "memory:" {
            return Ok(Self::Memory);
        }
        // The rest of a URL may hold a password.
        let scheme =
            url.split_once(':').map_or_else(String::new, |(scheme, _)| format!("{scheme}:"));
        let message = match scheme.as_str() {
            "" | "memory:" => "must be `memory:`".to_owned(),
            other => format!("must be `memory:`; this program has no backend for `{other}`"),
        };
        Err(ConfigError::Bad { option: "--backend", message })
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "memory:",
        })
    }
}

impl FromStr for Span {
    type Err = humantime::DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(milliseconds) => Ok(Self(Duration::from_millis(milliseconds))),
            Err(_) => humantime::parse_duration(text).map(Self),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(
            untagged,
            expecting = "a length of time such as \"20s\", or a number of milliseconds"
        )]
        enum Written {
            Number(u64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(milliseconds) => Ok(Self(Duration::from_millis(milliseconds))),
            Written::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

impl Serialize for Span {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(toml: &str) -> Options {
        toml::from_str(toml).unwrap()
    }

    #[test]
    fn a_flag_beats_a_variable_and_a_variable_the_file() {
        let variables = |name: &str| match name {
            "PORT" => Some("4000".to_owned()),
            "HOST_URL" => Some("https://a.example  https://b.example".to_owned()),
            _ => None,
        };
        let flags = options("drain = '1s'");
        let file = options("drain = '2s'\nlisten = '127.0.0.1:5000'\nstall = '3s'");
        let config = flags.or_variables(variables).or(file).resolve().unwrap();
        assert_eq!(config.drain, Duration::from_secs(1));
        assert_eq!(config.listen, "0.0.0.0:4000".parse().unwrap());
        assert_eq!(config.limits.stall, Duration::from_secs(3));
        assert_eq!(config.ping_interval, Duration::from_secs(25));
        assert_eq!(config.allowed_origins, ["https://a.example", "https://b.example"]);
        let spelled = options("listen = '127.0.0.1:1'").or_variables(variables);
        assert_eq!(spelled.resolve().unwrap().listen, "127.0.0.1:1".parse().unwrap());
    }

    #[test]
    fn what_is_printed_can_be_read_back() {
        let printed = options("max-payload = 20000000\nping-timeout = '1500ms'").print().unwrap();
        let again = options(&printed).print().unwrap();
        assert_eq!(printed, again);
        assert!(printed.contains("max-payload = 20000000"), "{printed}");
        assert!(printed.contains("ping-timeout = \"1s 500ms\""), "{printed}");
    }

    #[test]
    fn a_misspelt_name_is_refused_with_the_right_one() {
        let error = check_variables(["HOME", "PURRR_DRIAN"].into_iter().map(str::to_owned));
        let message = error.unwrap_err().to_string();
        assert_eq!(message, "there is no option `PURRR_DRIAN`; did you mean `PURRR_DRAIN`?");
        let message = unknown("max-payloads", option_names()).to_string();
        assert_eq!(message, "there is no option `max-payloads`; did you mean `max-payload`?");
    }

    #[test]
    fn a_number_alone_is_in_milliseconds() {
        let config = options("ping-interval = 300\nping-timeout = '200'").resolve().unwrap();
        assert_eq!(config.ping_interval, Duration::from_millis(300));
        assert_eq!(config.ping_timeout, Duration::from_millis(200));
    }

    #[test]
    fn values_that_cannot_be_are_refused() {
        for (toml, message) in [
            (
                "image-bytes = 20000000",
                "--max-payload must be at least --image-bytes and 1,024 more",
            ),
            ("stall = '0s'", "--stall must be longer than 0s"),
            ("max-connections = 0", "--max-connections must be at least 1"),
            (
                "connects-per-second = 0",
                "--connects-per-second must be at least 1; --rate-limits off sets no limit",
            ),
            (
                "listen = 'nowhere'",
                "--listen must be a port or an address and port such as 127.0.0.1:3007, not \"nowhere\"",
            ),
            (
                "backend = 'redis://:secret@example.com/0'",
                "--backend must be `memory:`; this program has no backend for `redis:`",
            ),
            ("backend = 'memory'", "--backend must be `memory:`"),
            ("backend = 'memory://here'", "--backend must be `memory:`"),
        ] {
            assert_eq!(options(toml).resolve().unwrap_err().to_string(), message);
        }
    }
}
