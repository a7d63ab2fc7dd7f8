//! How the value of a setting is written: [`SettingValue`].
//!
//! Not by serde and `serde_with`: flags and variables are texts that no deserializer reads, so the
//! file's values are read as the same texts, and an error is the same from all three.

use std::{
    fmt::Display,
    net::{Ipv6Addr, SocketAddr},
    num::{IntErrorKind, NonZeroU32, NonZeroUsize},
    str::FromStr,
    time::Duration,
};

use purrr_core::model::Rate;

use crate::config::{Backend, BasePath, Calls, IceServer, Network, Origin, PageUrl, Secret};

/// A value that is read from texts and written as TOML, alike for flag, variable and file.
pub(super) trait SettingValue: Sized {
    /// Parses the value; the error completes "--name …".
    fn read(texts: &[&str]) -> Result<Self, String>;

    /// Returns the value as the file has it, such that `read` takes it back.
    fn write(&self) -> toml::Value;
}

macro_rules! impl_numbers {
    ($($number:ty),+) => {$(
        impl SettingValue for $number {
            fn read(texts: &[&str]) -> Result<Self, String> {
                let text = single(texts)?;
                text.parse().map_err(|error: std::num::ParseIntError| match error.kind() {
                    IntErrorKind::PosOverflow => format!("must be at most {}", Self::MAX),
                    _ => format!("must be a whole number from {}, not {text:?}", Self::MIN),
                })
            }

            fn write(&self) -> toml::Value {
                // TOML's integers end at 2^63 - 1; beyond that a text holds the number.
                let number = self.to_string();
                number.parse().map_or(toml::Value::String(number), toml::Value::Integer)
            }
        }
    )+};
}

impl_numbers!(u32, u64, usize, NonZeroU32, NonZeroUsize);

/// `20s`, `500ms` or `1m 30s`; a bare number is in milliseconds.
impl SettingValue for Duration {
    fn read(texts: &[&str]) -> Result<Self, String> {
        let text = single(texts)?;
        if let Ok(milliseconds) = text.parse() {
            return Ok(Self::from_millis(milliseconds));
        }
        humantime::parse_duration(text)
            .map_err(|_| format!("must be a time such as 20s, 500ms or 1m 30s, not {text:?}"))
    }

    fn write(&self) -> toml::Value {
        humantime::format_duration(*self).to_string().into()
    }
}

/// `PER_SECOND+BURST`; a bare number is both.
impl SettingValue for Rate {
    fn read(texts: &[&str]) -> Result<Self, String> {
        let text = single(texts)?;
        let (per_second, burst) = text.split_once('+').unwrap_or((text, text));
        match (per_second.parse(), burst.parse()) {
            (Ok(per_second @ 1..), Ok(burst @ 1..)) => Ok(Self::new(per_second, burst)),
            _ => Err(format!("must be PER_SECOND+BURST from 1+1, such as 100+4000, not {text:?}")),
        }
    }

    fn write(&self) -> toml::Value {
        format!("{}+{}", self.per_second, self.burst).into()
    }
}

/// `on` or `off`.
impl SettingValue for bool {
    fn read(texts: &[&str]) -> Result<Self, String> {
        match single(texts)? {
            "on" => Ok(true),
            "off" => Ok(false),
            text => Err(format!("must be on or off, not {text:?}")),
        }
    }

    fn write(&self) -> toml::Value {
        if *self { "on" } else { "off" }.into()
    }
}

/// An address and a port, or a port alone, which is that port of every address.
impl SettingValue for SocketAddr {
    fn read(texts: &[&str]) -> Result<Self, String> {
        let text = single(texts)?;
        let address = text.parse::<u16>().map(|port| Self::from((Ipv6Addr::UNSPECIFIED, port)));
        address.or_else(|_| text.parse()).map_err(|_| {
            format!("must be a port or an address and port such as 127.0.0.1:3007, not {text:?}")
        })
    }

    fn write(&self) -> toml::Value {
        self.to_string().into()
    }
}

/// Nothing, or an address.
impl SettingValue for Option<SocketAddr> {
    fn read(texts: &[&str]) -> Result<Self, String> {
        match single(texts)? {
            "" => Ok(None),
            _ => SocketAddr::read(texts).map(Some),
        }
    }

    fn write(&self) -> toml::Value {
        self.map_or_else(String::new, |address| address.to_string()).into()
    }
}

impl SettingValue for Backend {
    fn read(texts: &[&str]) -> Result<Self, String> {
        // Must not tell the text, which may hold a password.
        single(texts)?.parse().map_err(|error: <Self as FromStr>::Err| error.to_string())
    }

    fn write(&self) -> toml::Value {
        self.to_string().into()
    }
}

macro_rules! impl_parsed {
    ($($parsed:ty),+) => {$(
        impl SettingValue for $parsed {
            fn read(texts: &[&str]) -> Result<Self, String> {
                let text = single(texts)?;
                text.parse().map_err(|error| format!("{error}, not {text:?}"))
            }

            fn write(&self) -> toml::Value {
                self.to_string().into()
            }
        }
    )+};
}

impl_parsed!(BasePath, Calls, PageUrl);

macro_rules! impl_lists {
    ($($item:ty),+) => {$(
        impl SettingValue for Vec<$item> {
            fn read(texts: &[&str]) -> Result<Self, String> {
                read_list(texts)
            }

            fn write(&self) -> toml::Value {
                write_list(self)
            }
        }
    )+};
}

impl_lists!(IceServer, Network, Origin);

impl SettingValue for Secret {
    fn read(texts: &[&str]) -> Result<Self, String> {
        Ok(single(texts)?.to_owned().into())
    }

    fn write(&self) -> toml::Value {
        self.reveal().into()
    }
}

impl SettingValue for String {
    fn read(texts: &[&str]) -> Result<Self, String> {
        Ok(single(texts)?.to_owned())
    }

    fn write(&self) -> toml::Value {
        self.as_str().into()
    }
}

/// Returns the text of a setting that has one value.
pub(super) fn single<'a>(texts: &[&'a str]) -> Result<&'a str, String> {
    match texts {
        [text] => Ok(text),
        _ => Err("must be a single value".to_owned()),
    }
}

/// Parses texts that hold any number of items each, separated by spaces or commas.
fn read_list<T: FromStr<Err: Display>>(texts: &[&str]) -> Result<Vec<T>, String> {
    let between = |c: char| c.is_whitespace() || c == ',';
    let items = texts.iter().flat_map(|text| text.split(between)).filter(|item| !item.is_empty());
    items.map(|item| item.parse().map_err(|error| format!("{error}, not {item:?}"))).collect()
}

fn write_list(items: &[impl Display]) -> toml::Value {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: SettingValue>(text: &str, written: Result<&str, &str>) {
        let value = T::read(&[text]).map(|value| value.write().to_string());
        let value = value.as_ref().map(|text| text.trim_matches('"')).map_err(String::as_str);
        assert_eq!(value, written, "{text}");
    }

    #[test]
    fn time_has_units_or_is_milliseconds() {
        for (text, written) in
            [("20s", "20s"), ("1500ms", "1s 500ms"), ("300", "300ms"), ("1m 30s", "1m 30s")]
        {
            check::<Duration>(text, Ok(written));
        }
        let refusal = "must be a time such as 20s, 500ms or 1m 30s, not \"soon\"";
        check::<Duration>("soon", Err(refusal));
    }

    #[test]
    fn rate_is_per_second_and_burst() {
        check::<Rate>("5+7", Ok("5+7"));
        check::<Rate>("5", Ok("5+5"));
        for wrong in ["", "+", "5+", "+7", "-1+2", "5 a second", "5/7", "0+5", "5+0", "0"] {
            assert!(Rate::read(&[wrong]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn number_has_a_range() {
        check::<usize>("20", Ok("20"));
        check::<u64>(&u64::MAX.to_string(), Ok(&u64::MAX.to_string()));
        check::<u32>("4294967296", Err("must be at most 4294967295"));
        check::<usize>("-1", Err("must be a whole number from 0, not \"-1\""));
        check::<NonZeroUsize>("0", Err("must be a whole number from 1, not \"0\""));
    }

    #[test]
    fn backend_is_a_url_whose_password_is_not_told() {
        check::<Backend>("memory:", Ok("memory:"));
        for (text, refusal) in [
            ("memory", "must be `memory:`"),
            ("memory://here", "must be `memory:`"),
            (
                "redis://:secret@example.com/0",
                "must be `memory:`; this program has no backend for `redis:`",
            ),
        ] {
            check::<Backend>(text, Err(refusal));
        }
    }

    #[test]
    fn list_is_separated_by_spaces_or_commas_or_repeated() {
        for text in
            ["https://a.example,https://b.example", " https://a.example, https://b.example,"]
        {
            let origins = Vec::<Origin>::read(&[text]).unwrap().write().to_string();
            assert_eq!(origins, r#"["https://a.example", "https://b.example"]"#, "{text}");
        }
        let origins = Vec::<Origin>::read(&["https://a.example  https://b.example", "http://c"]);
        let origins = origins.unwrap().write().to_string();
        assert_eq!(origins, r#"["https://a.example", "https://b.example", "http://c"]"#);
        assert_eq!(
            Vec::<Network>::read(&["10.0.0.0/8 proxy"]).unwrap_err(),
            "must be a network such as 10.0.0.0/8 or 2001:db8::/32, or an address, not \"proxy\""
        );
    }
}
