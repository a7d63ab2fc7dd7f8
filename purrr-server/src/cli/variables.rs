//! Environment variables that begin with `PURRR_`: [`check`].

use super::{
    error::{CliError, unknown},
    setting::Setting,
    settings,
};

/// Variables beside those of the settings. The tests name the program to run by the second.
const OTHERS: [&str; 2] = ["PURRR_CONFIG", "PURRR_BIN"];

/// Names that operators try, and what they mean by them.
const MEANT: [(&str, &str); 4] = [
    ("PURRR_PORT", "`PORT` or `PURRR_LISTEN`"),
    ("PURRR_HOST", "`PURRR_LISTEN`"),
    ("PURRR_ADDRESS", "`PURRR_LISTEN`"),
    ("PURRR_HOST_URL", "`HOST_URL` or `PURRR_ALLOWED_ORIGIN`"),
];

/// Refuses variables that look like settings and are none, since a misspelt limit is no limit.
///
/// Variables that a container platform sets for a service called `purrr` or `purrr-…` are ignored.
pub(super) fn check(variables: impl Iterator<Item = (String, String)>) -> Result<(), CliError> {
    let known = || settings::all().map(Setting::variable).chain(OTHERS.map(str::to_owned));
    for (name, value) in variables {
        if !name.starts_with("PURRR_")
            || known().any(|known| known == name)
            || value.is_empty()
            || is_injected(&name, &value)
        {
            continue;
        }
        let meant = MEANT.into_iter().find(|(wrong, _)| *wrong == name);
        return Err(match meant {
            Some((_, meant)) => CliError::Unknown { name, nearest: Some(meant.to_owned()) },
            None => unknown(&name, known()),
        });
    }
    Ok(())
}

/// Returns true for a variable of the kind that a container platform sets.
///
/// Kubernetes and Docker set `PURRR_SERVICE_HOST`, `PURRR_SERVICE_PORT`,
/// `PURRR_SERVICE_PORT_HTTP`, `PURRR_PORT=tcp://…` and `PURRR_PORT_3007_TCP` with `_PROTO`, `_PORT`
/// and `_ADDR`. Docker's links also set `PURRR_NAME=/…` and `PURRR_ENV_…`. A service called
/// `purrr-web` has `PURRR_WEB` in place of `PURRR`.
fn is_injected(name: &str, value: &str) -> bool {
    ["_SERVICE_HOST", "_SERVICE_PORT"].iter().any(|end| name.ends_with(end))
        || name.contains("_SERVICE_PORT_")
        || (name.ends_with("_PORT") && value.contains("://"))
        || (name.ends_with("_NAME") && value.starts_with('/'))
        || name.contains("_ENV_")
        // Also of a service whose own name contains `PORT`, so matches may overlap.
        || name
            .char_indices()
            .any(|(at, _)| name[at..].strip_prefix("_PORT_").is_some_and(is_port))
}

/// Returns true if the text begins with a port and a protocol, such as `3007_TCP`.
fn is_port(text: &str) -> bool {
    let (port, rest) = text.split_once('_').unwrap_or_default();
    port.parse::<u16>().is_ok() && ["TCP", "UDP", "SCTP"].iter().any(|name| rest.starts_with(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(variables: &[(&str, &str)]) -> Option<String> {
        let variables = variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        check(variables).err().map(|error| error.to_string())
    }

    #[test]
    fn variables_of_container_platforms_are_ignored() {
        for service in ["PURRR", "PURRR_WEB", "PURRR_CHAT_PORT", "PURRR_DRAIN"] {
            for (end, value) in [
                ("_SERVICE_HOST", "10.43.0.7"),
                ("_SERVICE_HOST", "fd00::7"),
                ("_SERVICE_PORT", "3007"),
                ("_SERVICE_PORT_HTTP", "3007"),
                ("_SERVICE_PORT_HTTP_ALT", "3008"),
                ("_PORT", "tcp://10.43.0.7:3007"),
                ("_PORT", "udp://[fd00::7]:3007"),
                ("_PORT_3007_TCP", "tcp://10.43.0.7:3007"),
                ("_PORT_3007_TCP_PROTO", "tcp"),
                ("_PORT_3007_TCP_PORT", "3007"),
                ("_PORT_3007_TCP_ADDR", "10.43.0.7"),
                ("_PORT_3007_TCP_PORT_START", "3007"),
                ("_PORT_53_UDP_ADDR", "10.43.0.7"),
                ("_PORT_132_SCTP", "sctp://10.43.0.7:132"),
                ("_NAME", "/web/purrr"),
                ("_ENV_RUST_VERSION", "1.88"),
            ] {
                let name = format!("{service}{end}");
                assert_eq!(refusal(&[(&name, value)]), None, "{name}={value}");
            }
        }
        assert_eq!(refusal(&[("HOME", "/root"), ("PURRRING", "yes")]), None);
    }

    #[test]
    fn misspelt_variable_gets_a_hint() {
        for (name, hint) in [
            ("PURRR_DRIAN", "; did you mean `PURRR_DRAIN`?"),
            ("PURRR_ALLOWED_ORIGINS", "; did you mean `PURRR_ALLOWED_ORIGIN`?"),
            ("PURRR_TRUST_PROXY", "; did you mean `PURRR_TRUSTED_PROXY`?"),
            ("PURRR_PORT", "; did you mean `PORT` or `PURRR_LISTEN`?"),
            ("PURRR_HOST_URL", "; did you mean `HOST_URL` or `PURRR_ALLOWED_ORIGIN`?"),
            ("PURRR_PORT_HTTP", ""),
            ("PURRR_PORT_99999_TCP", ""),
            ("PURRR_COLOUR", ""),
            ("PURRR_SERVICE", ""),
        ] {
            let expected = format!("there is no option `{name}`{hint}");
            assert_eq!(refusal(&[(name, "3007")]), Some(expected));
        }
    }

    #[test]
    fn no_setting_looks_like_a_variable_of_a_platform() {
        for variable in settings::all().map(Setting::variable) {
            for value in ["1", "tcp://10.43.0.7:1", "/web/purrr"] {
                assert!(!is_injected(&variable, value), "{variable}={value}");
            }
        }
    }
}
