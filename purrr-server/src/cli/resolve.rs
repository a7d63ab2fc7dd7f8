//! From [`Options`] to a [`Config`] and back, option by option in one list.

use std::net::SocketAddr;

use super::{ConfigError, Options};
use crate::config::Config;

/// Which way values go between options and a configuration.
#[derive(Clone, Copy)]
enum Way {
    /// What was given is set.
    Set,
    /// What is set is told.
    Tell,
}

impl Options {
    /// What is in force, given these options.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Bad`] for a value that cannot be.
    pub fn resolve(&self) -> Result<Config, ConfigError> {
        let mut config = Config::default();
        self.clone().exchange(&mut config, Way::Set);
        config.listen = self.listen.as_deref().map_or(Ok(config.listen), address)?;
        config.backend = self.backend.as_deref().map_or(Ok(config.backend), str::parse)?;
        config.check()?;
        Ok(config)
    }

    /// These options as a file, with the defaults filled in.
    ///
    /// # Errors
    ///
    /// As [`resolve`](Self::resolve).
    pub fn print(&self) -> Result<String, ConfigError> {
        let mut config = self.resolve()?;
        let mut whole = Self {
            listen: Some(config.listen.to_string()),
            backend: Some(config.backend.to_string()),
            log_format: Some(self.log_format.unwrap_or_default()),
            log: Some(self.log.clone().unwrap_or_else(|| "info".to_owned())),
            ..Self::default()
        };
        whole.exchange(&mut config, Way::Tell);
        Ok(toml::to_string(&whole).expect("options are strings, numbers and lists of them"))
    }

    /// Every option but those that have to be understood first.
    fn exchange(&mut self, config: &mut Config, way: Way) {
        way.pass(&mut self.allowed_origin, &mut config.allowed_origins);
        way.pass(&mut self.trusted_proxy, &mut config.trusted_proxies);
        way.pass(&mut self.header_timeout, &mut config.header_timeout);
        way.pass(&mut self.ping_interval, &mut config.ping_interval);
        way.pass(&mut self.ping_timeout, &mut config.ping_timeout);
        way.pass(&mut self.chat_ping_interval, &mut config.chat_ping_interval);
        way.pass(&mut self.chat_ping_timeout, &mut config.chat_ping_timeout);
        way.pass(&mut self.connect_timeout, &mut config.connect_timeout);
        way.pass(&mut self.body_timeout, &mut config.body_timeout);
        way.pass(&mut self.idle_timeout, &mut config.idle_timeout);
        way.pass(&mut self.max_connections, &mut config.max_connections);
        way.pass(&mut self.max_connections_per_address, &mut config.max_connections_per_address);
        way.pass(&mut self.max_payload, &mut config.max_payload);
        way.pass(&mut self.buffered_bytes, &mut config.buffered_bytes);
        way.pass(&mut self.buffered_bytes_per_address, &mut config.buffered_bytes_per_address);
        way.pass(&mut self.image_pixels, &mut config.image_pixels);
        way.pass(&mut self.image_frames, &mut config.image_frames);
        way.pass(&mut self.rates_per_address, &mut config.rates_per_address);
        way.pass(&mut self.rate_limits, &mut config.rate_limits);
        way.pass(&mut self.connects_per_second, &mut config.connects_per_second);
        let rates = config.limits.rates.get_or_insert_default();
        way.pass(&mut self.message_rate, &mut rates.message_rate);
        way.pass(&mut self.byte_rate, &mut rates.byte_rate);
        way.pass(&mut self.typing_rate, &mut rates.typing_rate);
        way.pass(&mut self.signal_rate, &mut rates.signal_rate);
        way.pass(&mut self.find_rate, &mut rates.find_rate);
        way.pass(&mut self.refusal_rate, &mut rates.refusal_rate);
        let limits = &mut config.limits;
        way.pass(&mut self.message_bytes, &mut limits.message_bytes);
        way.pass(&mut self.image_bytes, &mut limits.image_bytes);
        way.pass(&mut self.signal_bytes, &mut limits.signal_bytes);
        way.pass(&mut self.name_chars, &mut limits.name_chars);
        way.pass(&mut self.key_bytes, &mut limits.key_bytes);
        way.pass(&mut self.interests, &mut limits.interests);
        way.pass(&mut self.interest_chars, &mut limits.interest_chars);
        way.pass(&mut self.languages, &mut limits.languages);
        way.pass(&mut self.language_chars, &mut limits.language_chars);
        way.pass(&mut self.queue_items, &mut limits.queue_items);
        way.pass(&mut self.queue_bytes, &mut limits.queue_bytes);
        way.pass(&mut self.receipts, &mut limits.receipts);
        way.pass(&mut self.blocks, &mut limits.blocks);
        way.pass(&mut self.remembered, &mut limits.remembered);
        way.pass(&mut self.resume_for, &mut limits.resume_for);
        way.pass(&mut self.stall, &mut limits.stall);
        way.pass(&mut self.recent_partners, &mut limits.recent_partners);
        way.pass(&mut self.recent_for, &mut limits.recent_for);
        way.pass(&mut self.recent_relax, &mut limits.recent_relax);
        let [language, anyone] = &mut config.widen_after;
        way.pass(&mut self.language_after, language);
        way.pass(&mut self.anyone_after, anyone);
        way.pass(&mut self.drain, &mut config.drain);
    }
}

impl Way {
    fn pass<O, S>(self, option: &mut Option<O>, setting: &mut S)
    where
        O: Clone + From<S>,
        S: Clone + From<O>,
    {
        match (self, &option) {
            (Self::Set, Some(given)) => *setting = given.clone().into(),
            (Self::Set, None) => {}
            (Self::Tell, _) => *option = Some(setting.clone().into()),
        }
    }
}

fn address(text: &str) -> Result<SocketAddr, ConfigError> {
    let whole = if text.bytes().all(|byte| byte.is_ascii_digit()) {
        format!("0.0.0.0:{text}")
    } else {
        text.to_owned()
    };
    whole.parse().map_err(|_| ConfigError::Bad {
        option: "--listen (or PORT)",
        message: format!(
            "must be a port or an address and port such as 127.0.0.1:3007, not {text:?}"
        ),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use purrr_core::model::Rate;

    use super::*;

    fn options(toml: &str) -> Options {
        toml::from_str(toml).unwrap()
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
    fn a_number_alone_is_in_milliseconds() {
        let config = options("ping-interval = 300\nping-timeout = '200'").resolve().unwrap();
        assert_eq!(config.ping_interval, Duration::from_millis(300));
        assert_eq!(config.ping_timeout, Duration::from_millis(200));
    }

    #[test]
    fn a_rate_is_so_much_a_second_and_so_much_at_once() {
        for (written, rate) in [("5+7", Rate::new(5, 7)), ("5", Rate::new(5, 5))] {
            let given = options(&format!("find-rate = '{written}'"));
            let config = given.resolve().unwrap();
            assert_eq!(config.limits.rates.unwrap().find_rate, rate);
        }
        for wrong in ["", "+", "5+", "+7", "-1+2", "5 a second", "5/7"] {
            assert!(
                toml::from_str::<Options>(&format!("find-rate = '{wrong}'")).is_err(),
                "{wrong}"
            );
        }
        let off = options("rate-limits = 'off'").resolve().unwrap();
        assert_eq!(off.hub().limits().rates, None);
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
                "--listen (or PORT) must be a port or an address and port such as 127.0.0.1:3007, not \"nowhere\"",
            ),
            (
                "backend = 'redis://:secret@example.com/0'",
                "--backend must be `memory:`; this program has no backend for `redis:`",
            ),
            ("message-rate = '0+5'", "--message-rate must be at least 1+1"),
            ("byte-rate = '5+0'", "--byte-rate must be at least 1+1"),
            ("buffered-bytes = 11999999", "--buffered-bytes must be at least --max-payload"),
            (
                "buffered-bytes-per-address = 1",
                "--buffered-bytes-per-address must be 0 or at least --max-payload",
            ),
            ("queue-items = 0", "--queue-items must be at least 1"),
            ("backend = 'memory'", "--backend must be `memory:`"),
            ("backend = 'memory://here'", "--backend must be `memory:`"),
        ] {
            assert_eq!(options(toml).resolve().unwrap_err().to_string(), message);
        }
    }
}
