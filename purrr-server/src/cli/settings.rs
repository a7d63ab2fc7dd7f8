//! Everything that can be set, as it is written: [`Options`].

use clap::Args;
use serde::{Deserialize, Serialize};

use super::{LogFormat, Span, Switch, Tempo};
use crate::config::Network;

/// Options that were given, wherever they were.
#[derive(Args, Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Options {
    /// Address and port, or just the port [default: 0.0.0.0:3007; PORT changes the port].
    #[arg(long, env = "PURRR_LISTEN", value_name = "ADDRESS", help_heading = "Network")]
    pub listen: Option<String>,
    /// Let pages of this origin connect; repeat for more [default: http://localhost:3000]. Those of HOST_URL,
    /// separated by spaces, are let in as well.
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
    /// Time between two questions whether a connection is still there; the first comes after half of it to all of it
    /// [default: 25s].
    #[arg(long, env = "PURRR_PING_INTERVAL", value_name = "TIME", help_heading = "Network")]
    pub ping_interval: Option<Span>,
    /// Time for the answer [default: 20s].
    #[arg(long, env = "PURRR_PING_TIMEOUT", value_name = "TIME", help_heading = "Network")]
    pub ping_timeout: Option<Span>,
    /// Time between two such questions to somebody who waits or chats, the first as early [default: 5s].
    #[arg(long, env = "PURRR_CHAT_PING_INTERVAL", value_name = "TIME", help_heading = "Network")]
    pub chat_ping_interval: Option<Span>,
    /// Time for the answer of somebody who waits or chats [default: 4s].
    #[arg(long, env = "PURRR_CHAT_PING_TIMEOUT", value_name = "TIME", help_heading = "Network")]
    pub chat_ping_timeout: Option<Span>,
    /// Time for a Socket.IO client to name its namespace [default: 45s].
    #[arg(long, env = "PURRR_CONNECT_TIMEOUT", value_name = "TIME", help_heading = "Network")]
    pub connect_timeout: Option<Span>,
    /// Time for the body of a request or a WebSocket message above 64 KiB, beside a second for each 8 KiB, or for a WebSocket to
    /// take a polling session over
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
    /// Bytes of one message on the wire; above it the connection is closed [default: 12000000].
    #[arg(long, env = "PURRR_MAX_PAYLOAD", value_name = "BYTES", help_heading = "Limits")]
    pub max_payload: Option<usize>,
    /// Bytes of large messages held for all connections together; above it they are refused [default: 1073741824].
    #[arg(long, env = "PURRR_BUFFERED_BYTES", value_name = "BYTES", help_heading = "Limits")]
    pub buffered_bytes: Option<usize>,
    /// The same for what comes from one address, or from one /64 of IPv6; 0 for no limit [default: 268435456].
    #[arg(
        long,
        env = "PURRR_BUFFERED_BYTES_PER_ADDRESS",
        value_name = "BYTES",
        help_heading = "Limits"
    )]
    pub buffered_bytes_per_address: Option<usize>,
    /// Bytes of a text [default: 262144].
    #[arg(long, env = "PURRR_MESSAGE_BYTES", value_name = "BYTES", help_heading = "Limits")]
    pub message_bytes: Option<usize>,
    /// Bytes of a picture [default: 9500000].
    #[arg(long, env = "PURRR_IMAGE_BYTES", value_name = "BYTES", help_heading = "Limits")]
    pub image_bytes: Option<usize>,
    /// Pixels that a picture may say it has, unless only the two can read it [default: 100000000].
    #[arg(long, env = "PURRR_IMAGE_PIXELS", value_name = "COUNT", help_heading = "Limits")]
    pub image_pixels: Option<u64>,
    /// Frames of a picture that moves [default: 1000].
    #[arg(long, env = "PURRR_IMAGE_FRAMES", value_name = "COUNT", help_heading = "Limits")]
    pub image_frames: Option<u32>,
    /// Bytes of one step of a call [default: 262144].
    #[arg(long, env = "PURRR_SIGNAL_BYTES", value_name = "BYTES", help_heading = "Limits")]
    pub signal_bytes: Option<usize>,
    /// Characters of a name [default: 256].
    #[arg(long, env = "PURRR_NAME_CHARS", value_name = "COUNT", help_heading = "Limits")]
    pub name_chars: Option<usize>,
    /// Bytes of a public key [default: 1024].
    #[arg(long, env = "PURRR_KEY_BYTES", value_name = "BYTES", help_heading = "Limits")]
    pub key_bytes: Option<usize>,
    /// Interests in one search [default: 32].
    #[arg(long, env = "PURRR_INTERESTS", value_name = "COUNT", help_heading = "Limits")]
    pub interests: Option<usize>,
    /// Characters of an interest [default: 64].
    #[arg(long, env = "PURRR_INTEREST_CHARS", value_name = "COUNT", help_heading = "Limits")]
    pub interest_chars: Option<usize>,
    /// Languages in one search [default: 8].
    #[arg(long, env = "PURRR_LANGUAGES", value_name = "COUNT", help_heading = "Limits")]
    pub languages: Option<usize>,
    /// Characters of a language's tag [default: 35].
    #[arg(long, env = "PURRR_LANGUAGE_CHARS", value_name = "COUNT", help_heading = "Limits")]
    pub language_chars: Option<usize>,
    /// Messages and other things under way to one side of a chat [default: 256].
    #[arg(long, env = "PURRR_QUEUE_ITEMS", value_name = "COUNT", help_heading = "Limits")]
    pub queue_items: Option<usize>,
    /// Bytes of them, unless one alone has more [default: 1048576].
    #[arg(long, env = "PURRR_QUEUE_BYTES", value_name = "BYTES", help_heading = "Limits")]
    pub queue_bytes: Option<usize>,
    /// Messages of one person that wait to be `delivered` [default: 4096].
    #[arg(long, env = "PURRR_RECEIPTS", value_name = "COUNT", help_heading = "Limits")]
    pub receipts: Option<usize>,
    /// People whom one person can have blocked [default: 256].
    #[arg(long, env = "PURRR_BLOCKS", value_name = "COUNT", help_heading = "Limits")]
    pub blocks: Option<usize>,
    /// People who are known again when they come back [default: 100000].
    #[arg(long, env = "PURRR_REMEMBERED", value_name = "COUNT", help_heading = "Limits")]
    pub remembered: Option<usize>,
    /// Time for which whoever has blocked somebody is known again [default: 1day].
    #[arg(long, env = "PURRR_RESUME_FOR", value_name = "TIME", help_heading = "Limits")]
    pub resume_for: Option<Span>,
    /// Time for which somebody may hold up a chat by not reading [default: 10s].
    #[arg(long, env = "PURRR_STALL", value_name = "TIME", help_heading = "Limits")]
    pub stall: Option<Span>,
    /// Whether anything is refused for coming too fast [default: on].
    #[arg(long, env = "PURRR_RATE_LIMITS", value_name = "SWITCH", help_heading = "Rates")]
    pub rate_limits: Option<Switch>,
    /// Connections that may begin in a second from one address, twice as many at once; above it 429 [default: 500].
    #[arg(long, env = "PURRR_CONNECTS_PER_SECOND", value_name = "COUNT", help_heading = "Rates")]
    pub connects_per_second: Option<u32>,
    /// Messages, read marks and introductions of one person [default: 100+4000].
    #[arg(long, env = "PURRR_MESSAGE_RATE", value_name = "RATE", help_heading = "Rates")]
    pub message_rate: Option<Tempo>,
    /// Bytes of all that one person sends to the partner [default: 4000000+200000000].
    #[arg(long, env = "PURRR_BYTE_RATE", value_name = "RATE", help_heading = "Rates")]
    pub byte_rate: Option<Tempo>,
    /// Changes between typing and not; above it the partner is told of the last one only [default: 50+1000].
    #[arg(long, env = "PURRR_TYPING_RATE", value_name = "RATE", help_heading = "Rates")]
    pub typing_rate: Option<Tempo>,
    /// Steps of a call [default: 50+1000].
    #[arg(long, env = "PURRR_SIGNAL_RATE", value_name = "RATE", help_heading = "Rates")]
    pub signal_rate: Option<Tempo>,
    /// Searches of one person [default: 5+200].
    #[arg(long, env = "PURRR_FIND_RATE", value_name = "RATE", help_heading = "Rates")]
    pub find_rate: Option<Tempo>,
    /// Refusals before a connection is closed [default: 100+1000].
    #[arg(long, env = "PURRR_REFUSAL_RATE", value_name = "RATE", help_heading = "Rates")]
    pub refusal_rate: Option<Tempo>,
    /// How many people at their full rates an address, or a /64 of IPv6, may have together; 0 for no limit [default: 50].
    #[arg(long, env = "PURRR_RATES_PER_ADDRESS", value_name = "COUNT", help_heading = "Rates")]
    pub rates_per_address: Option<u32>,
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
    /// Time after which one of them is met after all, if nobody else is there [default: 3s].
    #[arg(long, env = "PURRR_RECENT_RELAX", value_name = "TIME", help_heading = "Pairing")]
    pub recent_relax: Option<Span>,
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
