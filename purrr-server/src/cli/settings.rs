//! Every setting, declared once: [`GROUPS`].
//!
//! A row names a field of [`ServerConfig`](crate::config::ServerConfig), or of one of the structs in
//! it. Its flag, variable and key of the file follow from that name, and
//! its default is the field's. `--help` and the tables of `docs/configuration.md` are made from the
//! rows. To add a setting, add a field and a row, and print the tables anew.

use super::{
    setting::{Setting, Settings, setting},
    values::SettingValue,
};

/// The settings under the headings of the help.
pub(super) const GROUPS: [(&str, &[Setting]); 6] = [
    ("Network", NETWORK),
    ("Limits", LIMITS),
    ("Rates", RATES),
    ("Matching", MATCHING),
    ("Page", PAGE),
    ("Running", RUNNING),
];

const NETWORK: &[Setting] = &[
    setting!(server.listen, "ADDRESS", "Address and port to listen on, or a port alone").details(
        "PORT is read if neither flag nor PURRR_LISTEN is given. Port 0 lets the system \
         choose. [::] is all addresses, IPv4 included.",
    ),
    setting!(server.admin_listen, "ADDRESS", "Address of metrics and probes alone").details(
        "With it /metrics and /healthz are served there and not at --listen. /livez and /readyz \
         are served at both.",
    ),
    setting!(config.allowed_origin, "ORIGIN", "Origin of web pages that may connect; repeatable")
        .unit("origins")
        .details(
            "Pages that this server serves may always connect. HOST_URL adds origins. Also null, \
             file:// and patterns such as https://*.example.com.",
        ),
    setting!(config.trusted_proxy, "CIDR", "Network of trusted reverse proxies; repeatable")
        .unit("networks")
        .details(
            "The client address is read from X-Forwarded-For or Forwarded of these proxies, the \
             host also from X-Forwarded-Host, the scheme and the path of the page from \
             X-Forwarded-Proto and X-Forwarded-Prefix. The headers are ignored from all other \
             peers.",
        ),
    setting!(guards.header_timeout, "TIME", "Timeout of the first byte and of a request head")
        .details("It covers the handshake.")
        .memory("32 KB of a head for each connection"),
    setting!(guards.keep_alive_timeout, "TIME", "Timeout between two requests of a connection")
        .details("Longer than a load balancer keeps an idle connection.")
        .memory("one connection"),
    setting!(config.body_timeout, "TIME", "Timeout of a request body, message or upgrade")
        .details(
            "It applies to a request body (408), a WebSocket message (1008) and an \
             Engine.IO upgrade. Extended by 1 s per 8 KiB received: a minimum rate of 8 KiB/s.",
        )
        .memory("`--max-payload` for each connection, in `--buffered-bytes`"),
    setting!(guards.idle_timeout, "TIME", "Write timeout of HTTP responses")
        .details("Over a WebSocket --stall applies.")
        .memory("`--max-payload` for each connection, in `--buffered-bytes`"),
    setting!(
        config.connect_timeout,
        "TIME",
        "Timeout for a Socket.IO client to join its namespace"
    )
    .memory("one connection"),
    setting!(
        config.provisional_timeout,
        "TIME",
        "Timeout for the first packet of a polling session"
    )
    .memory("see `--provisional-sessions`"),
    setting!(config.ping_interval, "TIME", "Interval between pings to idle connections")
        .details("The first ping is jittered: it comes after 50 % to 100 % of the interval.")
        .memory("one connection"),
    setting!(config.ping_timeout, "TIME", "How long to wait for the pong of an idle connection")
        .memory("one connection"),
    setting!(config.chat_ping_interval, "TIME", "Ping interval while waiting or in a chat")
        .details("Jittered, and never longer than --ping-interval.")
        .memory("one connection"),
    setting!(
        config.chat_ping_timeout,
        "TIME",
        "How long to wait for the pong while waiting or in a chat"
    )
    .details(
        "A chat survives a gap in a line of this length. Never longer than --ping-timeout. \
         Extended by up to 40 s while large messages are in flight. A client whose pong is 1 s \
         overdue is not matched.",
    )
    .memory("one connection"),
];

const LIMITS: &[Setting] = &[
    setting!(config.max_connections, "COUNT", "Maximum connections; above it 503")
        .unit("connections")
        .details("WebSockets and Engine.IO sessions count.")
        .memory("4 to 6 KB each while idle, 15 KB with recent traffic: 1.5 GB"),
    setting!(
        config.max_connections_per_address,
        "COUNT",
        "Maximum connections per address; 0 = no limit"
    )
    .unit("connections")
    .details("Above it 503.")
    .memory("100 bytes for each connected address"),
    setting!(
        config.ipv6_prefix_factor,
        "COUNT",
        "Limits of an IPv6 /56, in those of a /64; 0 = no limit"
    )
    .unit("addresses")
    .details(
        "A /48 has as many times the limits of a /56. Applies to all limits of an address. Of \
         --buffered-bytes a /56 or /48 has at most half.",
    )
    .memory("100 bytes for each /56 and /48 with connections"),
    setting!(
        config.provisional_sessions,
        "COUNT",
        "Maximum polling sessions without a packet; 0 = no limit"
    )
    .unit("sessions")
    .details(
        "A polling session is provisional until its client has sent a packet or has upgraded. \
         Above the limit a session of the network with the most is evicted, or 503.",
    )
    .memory("6 KB each, for `--provisional-timeout`: 60 MB"),
    setting!(
        config.provisional_sessions_per_address,
        "COUNT",
        "Maximum of those sessions per address; 0 = no limit"
    )
    .unit("sessions")
    .details("Above it 503. Disabled by --rate-limits off.")
    .memory("a part of `--provisional-sessions`"),
    setting!(config.max_payload, "BYTES", "Maximum size of a message on the wire")
        .details("Above it the connection is closed (1009) or the request refused (413).")
        .memory("one message in and one out for each connection, in `--buffered-bytes`"),
    setting!(config.buffered_bytes, "BYTES", "Memory budget for messages over 16 KiB")
        .details(
            "Counted from the first byte received to the last byte sent. Above it `overloaded`. \
             Small messages count while a queue holds more than 16 KiB of them; above it their \
             sender is not read.",
        )
        .memory(
            "itself, and half as much again while messages are converted for the other dialect",
        ),
    setting!(
        config.buffered_bytes_per_address,
        "BYTES",
        "Memory budget of one address; 0 = no limit"
    )
    .details("Counted at the sender. Disabled by --rate-limits off.")
    .memory("a part of `--buffered-bytes`"),
    setting!(limits.message_bytes, "BYTES", "Maximum size of a text message")
        .unit("bytes of UTF-8")
        .details("Above it `too-long`.")
        .memory("itself"),
    setting!(limits.image_bytes, "BYTES", "Maximum size of an image")
        .details("Above it `too-large`.")
        .memory("itself, in `--buffered-bytes`"),
    setting!(config.image_pixels, "COUNT", "Maximum pixels in an image header")
        .unit("pixels")
        .details("Above it `too-large`. Not checked in encrypted chats.")
        .memory("none here; 400 MB in a viewer"),
    setting!(config.image_frames, "COUNT", "Maximum frames of an animated image")
        .unit("frames")
        .details("Above it `too-large`. Not checked in encrypted chats.")
        .memory("none here"),
    setting!(config.command_bytes, "BYTES", "Maximum size of any other command")
        .details("Above it `too-long`, before it is parsed.")
        .memory("itself"),
    setting!(limits.signal_bytes, "BYTES", "Maximum size of a call signal")
        .details("Above it `too-long`.")
        .memory("itself"),
    setting!(limits.name_chars, "COUNT", "Maximum length of a name")
        .unit("characters")
        .details("Above it `too-long`.")
        .memory("1 KiB for each connection, and as much for its partner"),
    setting!(limits.key_bytes, "BYTES", "Maximum size of a public key")
        .details("Above it `too-long`.")
        .memory("1 KiB for each connection, and as much for its partner"),
    setting!(limits.interests, "COUNT", "Maximum interests of a search")
        .unit("interests")
        .details("Above it `too-many`.")
        .memory("8 KiB for each search, with `--interest-chars`"),
    setting!(limits.interest_chars, "COUNT", "Maximum length of an interest")
        .unit("characters")
        .details("Above it `too-long`.")
        .memory("256 bytes"),
    setting!(limits.languages, "COUNT", "Maximum languages of a search")
        .unit("languages")
        .details("Above it `too-many`.")
        .memory("1.1 KiB for each search, with `--language-chars`"),
    setting!(limits.language_chars, "COUNT", "Maximum length of a language tag")
        .unit("characters")
        .details("Above it `too-long`.")
        .memory("140 bytes"),
    setting!(limits.queue_items, "COUNT", "Send queue per peer: maximum frames")
        .unit("frames")
        .details("While it is full, the sender is not read (backpressure).")
        .memory("60 KB for each side of a chat, beside what the frames hold"),
    setting!(limits.queue_bytes, "BYTES", "Send queue per peer: maximum bytes")
        .details("One larger frame is allowed into an empty queue.")
        .memory(
            "for each chat 2 MiB of small frames and half as much that was read with them, \
             or 59 MB of images, in `--buffered-bytes`",
        ),
    setting!(limits.read_ahead_items, "COUNT", "Frames read behind a full send queue")
        .unit("frames")
        .details(
            "So that leaving is done at once while the partner does not read. Behind more, it \
             waits for the partner. 0 disables.",
        )
        .memory("60 KB for each side of a chat, beside what the frames hold"),
    setting!(limits.read_ahead_bytes, "BYTES", "Bytes of those frames; the last may exceed it")
        .details("0 disables.")
        .memory("128 KiB for each chat, or see `--queue-bytes`"),
    setting!(limits.receipts, "COUNT", "Maximum messages of a sender awaiting `delivered`")
        .unit("messages")
        .details("Above it `too-many`.")
        .memory("32 KiB for each connection"),
    setting!(limits.blocks, "COUNT", "Maximum users that one user has blocked")
        .unit("users")
        .details("Above it the oldest block is dropped.")
        .memory("2 KiB for each user who has that many"),
    setting!(limits.block_address_for, "TIME", "How long a block covers the address too; 0 = off")
        .details(
            "For the user who blocked, and no other. Not if the two share an address. Disabled by \
             --rate-limits off.",
        )
        .memory("1 KiB for each user who has blocked 32 addresses or more"),
    setting!(limits.remembered, "COUNT", "Maximum absent users who are remembered")
        .unit("users")
        .details(
            "Blocks and recent partners. Above it the address with most of them gives way, its \
             oldest first. Connected users come on top and are never evicted.",
        )
        .memory("70 MB, or 350 MB if all of them have `--blocks`"),
    setting!(limits.resume_for, "TIME", "How long a user with blocks is remembered after leaving")
        .memory("see `--remembered`"),
    setting!(limits.resume_window, "TIME", "How long a lost client may resume its chat; 0 = never")
        .details("At most 5 s after a close with 1001. For Purrr.chat clients, and native ones that acknowledge.")
        .memory("see `--detached`"),
    setting!(limits.background_window, "TIME", "The same for a client in the background")
        .memory("see `--detached`"),
    setting!(limits.detached, "COUNT", "Maximum sessions without a connection")
        .unit("sessions")
        .details("Above it a chat ends with its connection. 0 disables.")
        .memory("30 MB, and `--detached-bytes`"),
    setting!(limits.detached_bytes, "BYTES", "Maximum bytes in flight to those sessions")
        .details("Each counts with 16 KiB more than it holds, which its partner may write.")
        .memory("256 MiB, in `--buffered-bytes` above 64 KiB a message"),
    setting!(limits.detached_per_address, "COUNT", "Maximum such sessions of one address")
        .unit("sessions")
        .memory("3 MB, and `--detached-bytes-per-address`"),
    setting!(limits.detached_bytes_per_address, "BYTES", "Maximum bytes in flight to them")
        .memory("32 MiB"),
    setting!(limits.stall, "TIME", "How long a slow consumer may hold up its chat")
        .details(
            "It applies to a client that does not take what it is sent, and to a match that the \
             partner does not open. A polling client shows only by its next poll that it took a \
             response.",
        )
        .memory("what the queues hold, see `--queue-bytes`"),
    setting!(limits.min_read_rate, "BYTES", "Minimum rate at which a client takes its output")
        .unit("bytes a second")
        .details(
            "A client that is slower over --stall and the time of what it is owed is closed with \
             `slow`. 0 disables.",
        )
        .memory("what the queues hold, see `--queue-bytes`"),
];

const RATES: &[Setting] = &[
    setting!(config.rate_limits, "ON_OFF", "Whether rate limits apply; off for measurements")
        .unit("on or off")
        .memory("150 bytes for each connection that has sent something"),
    setting!(config.connects_per_second, "COUNT", "New connections per second and address")
        .unit("connections")
        .details("The burst is twice as much. Above it 429.")
        .memory("410 bytes for each of the last 65,536 addresses: 27 MB"),
    setting!(config.request_rate, "RATE", "HTTP requests per address, without polling sessions")
        .unit("requests")
        .details("Above it 429.")
        .memory("120 bytes for each of the last 65,536 addresses: 8 MB"),
    setting!(config.polling_rate, "RATE", "HTTP requests of one polling session")
        .unit("requests")
        .details("Above it 429. An address has --rates-per-address times as many.")
        .memory("120 bytes for each of the last 65,536 addresses: 8 MB"),
    setting!(rates.message_rate, "RATE", "Messages, read marks and hellos per user")
        .unit("messages")
        .details("Above it `rate-limited`.")
        .memory("see `--rate-limits`"),
    setting!(rates.byte_rate, "RATE", "Bytes sent to the partner per user")
        .unit("bytes")
        .details("Above it `rate-limited`.")
        .memory("see `--rate-limits`"),
    setting!(rates.typing_rate, "RATE", "Typing notifications; coalesced above this rate")
        .unit("changes")
        .memory("see `--rate-limits`"),
    setting!(rates.signal_rate, "RATE", "Call signals per user")
        .unit("signals")
        .details("Above it `rate-limited`.")
        .memory("see `--rate-limits`"),
    setting!(rates.find_rate, "RATE", "Searches per user")
        .unit("searches")
        .details("Above it `rate-limited`.")
        .memory("see `--rate-limits`"),
    setting!(rates.refusal_rate, "RATE", "Refused requests before the connection is closed")
        .unit("refusals")
        .details("Rate-limited and unreadable requests count. Above it the close code is 4429.")
        .memory("see `--rate-limits`"),
    setting!(
        config.rates_per_address,
        "COUNT",
        "Rate limits per address, in full users; 0 = no limit"
    )
    .unit("users")
    .details(
        "The connections of one address together have this many times the rates above, \
             however many they are.",
    )
    .memory("see `--connects-per-second`"),
];

const MATCHING: &[Setting] = &[
    setting!(config.language_after, "TIME", "When a search widens to a shared language"),
    setting!(config.anyone_after, "TIME", "When a search widens to anyone"),
    setting!(limits.waiting_per_person, "COUNT", "Waiting places of one user; 0 = no limit")
        .unit("places")
        .details("Above it `too-many`. Counts all connections with tokens of one user."),
    setting!(limits.waiting_per_address, "COUNT", "Waiting places of one address; 0 = no limit")
        .unit("places")
        .details("Above it `too-many`. Large enough for a school behind one address."),
    setting!(limits.recent_partners, "COUNT", "Recent partners to avoid; 0 = none")
        .unit("users")
        .memory("24 bytes each, for all of `--remembered`"),
    setting!(limits.recent_for, "TIME", "How long to avoid recent partners")
        .memory("see `--recent-partners`"),
    setting!(limits.recent_relax, "TIME", "Wait before a recent partner is matched after all")
        .details("It applies while no other peer fits."),
];

const PAGE: &[Setting] = &[
    setting!(config.calls, "KIND", "Calls that the page offers: off, voice or video")
        .details("Calls of other clients are relayed all the same."),
    setting!(config.ice_server, "URL", "STUN or TURN server for calls of the page; repeatable")
        .unit("URLs")
        .details("Without a TURN server a call between two strict firewalls does not connect."),
    setting!(config.ice_secret, "SECRET", "Shared secret of the TURN servers")
        .details("With it each client is told credentials that expire after a day."),
    setting!(config.base_path, "PATH", "Path below which browsers see the page, such as /chat/")
        .details(
            "Only behind a proxy that strips the path and sends no X-Forwarded-Prefix, and if the \
             page is reached without a slash at the end.",
        ),
    setting!(config.frame_ancestor, "ORIGIN", "Site that may frame the page; repeatable")
        .unit("origins")
        .details("Without it no site may show the page in a frame."),
    setting!(config.page_title, "TEXT", "Name of the site on the page"),
    setting!(config.page_notice, "TEXT", "Notice on the start page"),
    setting!(config.terms_url, "URL", "Where the page's link to the rules leads"),
    setting!(config.privacy_url, "URL", "Where the page's link to the privacy statement leads"),
    setting!(config.contact_url, "URL", "Where the page's link to a contact leads"),
    setting!(config.minimum_age, "YEARS", "Minimum age that the page states; 0 = none"),
];

const RUNNING: &[Setting] = &[
    setting!(server.backend, "URL", "Where peers wait and chats run; memory: is this process"),
    setting!(guards.drain, "TIME", "Time for chats to finish at shutdown")
        .details("Connections without a chat are closed at random times during the first half."),
    setting!(log.log_format, "FORMAT", "Format of log lines: auto, pretty or json")
        .details("auto is pretty on a terminal and json elsewhere."),
    setting!(log.log, "FILTER", "Log filter, such as info or purrr_core=debug"),
];

impl Settings {
    /// Returns every setting as a file that `--config` reads.
    #[must_use]
    pub fn print(&self) -> String {
        let mut file = String::new();
        for (heading, settings) in GROUPS {
            if !file.is_empty() {
                file.push('\n');
            }
            file += &format!("# {heading}\n");
            for setting in settings {
                file += &format!("{} = {}\n", setting.name(), (setting.get)(self));
            }
        }
        file
    }
}

/// Returns all settings.
pub(super) fn all() -> impl Iterator<Item = &'static Setting> {
    GROUPS.into_iter().flat_map(|(_, settings)| settings)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn help_lines_are_short() {
        for Setting { field, help, details, .. } in all() {
            assert!(help.len() <= 60 && !help.ends_with('.'), "{field}: {}", help.len());
            assert!(details.is_empty() || details.ends_with('.'), "{field}: {details}");
        }
    }

    #[test]
    fn every_setting_is_declared_once() {
        let names: BTreeSet<_> = all().map(Setting::name).collect();
        assert_eq!(names.len(), all().count());
    }

    #[test]
    fn every_default_is_read_back() {
        let defaults = Settings::default();
        for setting in all() {
            let default = (setting.get)(&defaults);
            let texts = super::super::file::texts(&default);
            let texts: Vec<_> = texts.iter().map(String::as_str).collect();
            let mut settings = Settings::default();
            (setting.set)(&mut settings, &texts).unwrap();
            assert_eq!((setting.get)(&settings), default, "{}", setting.field);
        }
    }
}
