//! Command line, environment and file, put together: [`Cli`].

use std::{
    ffi::OsString,
    io::{self, Write},
    path::Path,
};

use clap::{Arg, ArgAction, ArgMatches, Command, parser::ValueSource, value_parser};
use toml::Value;

use super::{
    error::CliError,
    file::{self, File},
    setting::{Setting, Settings},
    settings::{self, GROUPS},
    values::SettingValue,
    variables,
};

/// What the program was asked to do, and its settings.
///
/// A flag beats a variable, a variable beats the file, and the file beats the default.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Cli {
    /// What to do instead of running the server.
    pub action: Option<Action>,
    /// Every setting.
    pub settings: Settings,
}

/// What the program does when it does not serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Check flags, variables and file.
    CheckConfig,
    /// Print every setting as a file.
    PrintConfig,
    /// Print the tables of `docs/configuration.md`.
    PrintReference,
}

const AFTER_HELP: &str = "\
TIME is 20s, 500ms or 1m 30s; a bare number is in milliseconds. RATE is PER_SECOND+BURST, such as \
100+4000. An address is one IPv4 address or an IPv6 /64. Every option is also a key of the file of \
--config, without its dashes. Precedence: flag, variable, file, default.";

impl Cli {
    /// Reads the process's command line, environment and file.
    ///
    /// Prints the help or a mistake in the command line, and then ends the process.
    ///
    /// # Errors
    ///
    /// A mistake in a value, a variable or the file.
    pub fn parse() -> Result<Self, CliError> {
        let matches = command().try_get_matches().unwrap_or_else(|shown| show(&shown));
        let text = |text: OsString| text.to_string_lossy().into_owned();
        variables::check(std::env::vars_os().map(|(name, value)| (text(name), text(value))))?;
        Self::from_matches(&matches, |name| std::env::var(name).ok())
    }

    /// Applies what clap matched, PORT and HOST_URL, and the file.
    ///
    /// A variable counts as unset if it is empty.
    fn from_matches(
        matches: &ArgMatches,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, CliError> {
        let file = matches.get_one::<OsString>("config").filter(|path| {
            !path.is_empty() || matches.value_source("config") == Some(ValueSource::CommandLine)
        });
        let file = file.map_or_else(|| Ok(File::default()), |path| File::read(Path::new(path)))?;
        let mut settings = Settings::default();
        for setting in settings::all() {
            let port = || match setting.field {
                "listen" => variable("PORT").filter(|port| !port.is_empty()),
                _ => None,
            };
            let given = given(matches, setting)
                .or_else(|| Some(("PORT".to_owned(), vec![port()?])))
                .or_else(|| file.get(&setting.name()));
            if let Some((place, texts)) = given {
                let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
                (setting.set)(&mut settings, &texts)
                    .map_err(|requirement| CliError::Invalid { place, requirement })?;
            }
        }
        // Beside the named origins or the default, as in Purrr.chat's own server.
        let origins = SettingValue::read(&[&variable("HOST_URL").unwrap_or_default()]);
        let origins: Vec<_> = origins.map_err(|requirement| CliError::Invalid {
            place: "HOST_URL".to_owned(),
            requirement,
        })?;
        settings.config.routes.allowed_origin.extend(origins);
        settings.config.validate()?;
        let action = matches.subcommand().map(|(name, _)| Action::named(name));
        Ok(Self { action, settings })
    }
}

/// Prints the help, the version or what is wrong with the command line, and ends the program.
///
/// clap itself would count help as shown whether or not it could be written.
fn show(shown: &clap::Error) -> ! {
    let code = match shown.print().and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe && !shown.use_stderr() => {
            writeln!(io::stderr(), "purrr-server: cannot write to standard output: {error}").ok();
            1
        }
        _ => shown.exit_code(),
    };
    std::process::exit(code)
}

impl Action {
    const ALL: [Self; 3] = [Self::CheckConfig, Self::PrintConfig, Self::PrintReference];

    fn command(self) -> Command {
        match self {
            Self::CheckConfig => Command::new("check-config")
                .about("Check flags, variables and file, and say what is wrong"),
            Self::PrintConfig => Command::new("print-config")
                .about("Print the settings in force, as a file that --config reads"),
            Self::PrintReference => Command::new("print-reference").hide(true),
        }
    }

    fn named(name: &str) -> Self {
        let named = Self::ALL.into_iter().find(|action| action.command().get_name() == name);
        named.expect("clap matches only its own subcommands")
    }
}

/// Returns a setting's flag or variable and its texts, if either is given.
fn given(matches: &ArgMatches, setting: &Setting) -> Option<(String, Vec<String>)> {
    let texts = || matches.get_many(setting.field).into_iter().flatten().cloned();
    let place = match matches.value_source(setting.field)? {
        ValueSource::CommandLine => format!("--{}", setting.name()),
        ValueSource::EnvVariable if texts().any(|text: String| !text.is_empty()) => {
            setting.variable()
        }
        _ => return None,
    };
    Some((place, texts().collect()))
}

fn command() -> Command {
    let config = Arg::new("config")
        .long("config")
        .env("PURRR_CONFIG")
        .hide_env_values(true)
        .value_name("FILE")
        .value_parser(value_parser!(OsString))
        .global(true)
        .help("Read options from this TOML file");
    let defaults = Settings::default();
    let options = GROUPS.iter().flat_map(|(heading, settings)| {
        settings.iter().map(|setting| argument(setting, &defaults).help_heading(*heading))
    });
    Command::new("purrr-server")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Random chat server: web page, WebSocket and Socket.IO over one lobby")
        .after_help(AFTER_HELP)
        .subcommands(Action::ALL.map(Action::command))
        .arg(config)
        .args(options)
}

fn argument(setting: &Setting, defaults: &Settings) -> Arg {
    let default = (setting.get)(defaults);
    let action = match default {
        Value::Array(_) => ArgAction::Append,
        _ => ArgAction::Set,
    };
    let argument = Arg::new(setting.field)
        .long(setting.name())
        .env(setting.variable())
        // A variable may hold a password.
        .hide_env_values(true)
        .value_name(setting.value)
        .global(true)
        .action(action);
    let mut texts = file::texts(&default);
    texts.retain(|text| !text.is_empty());
    let none = if texts.is_empty() { " [default: none]" } else { "" };
    let argument = argument.default_values(texts).help(format!("{}{none}", setting.help));
    match setting.details {
        "" => argument,
        details => argument.long_help(format!("{}. {details}{none}", setting.help)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::config::Origin;

    /// Applies flags, a file of this name and text, and variables.
    fn apply(
        flags: &[&str],
        file: (&str, &str),
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Settings, String> {
        // The tests of this process run at the same time, and name their files alike.
        static FILES: AtomicUsize = AtomicUsize::new(0);
        let number = FILES.fetch_add(1, Ordering::Relaxed);
        let unique = format!("purrr-{}-{number}-{}", std::process::id(), file.0);
        let path = std::env::temp_dir().join(unique);
        std::fs::write(&path, file.1).unwrap();
        let path_text = path.to_str().unwrap();
        let arguments = [&["purrr-server", "--config", path_text], flags].concat();
        let cli = Cli::from_matches(&command().get_matches_from(arguments), variable);
        std::fs::remove_file(&path).unwrap();
        let cli = cli.map_err(|error| error.to_string().replace(path_text, file.0));
        cli.map(|cli| cli.settings)
    }

    fn origins(settings: &Settings) -> Vec<&str> {
        settings.config.routes.allowed_origin.iter().map(Origin::as_str).collect()
    }

    #[test]
    fn precedence_is_flag_port_file_default() {
        let variables = |name: &str| match name {
            "PORT" => Some("4000".to_owned()),
            "HOST_URL" => Some("https://a.example  https://b.example".to_owned()),
            _ => None,
        };
        let empty = |_: &str| Some(String::new());
        let file = ("all", "drain = '2s'\nlisten = '127.0.0.1:5000'\nstall = '3s'");
        let settings = apply(&["--drain", "1s"], file, variables).unwrap();
        let printed = settings.print();
        for line in [
            r#"drain = "1s""#,
            r#"listen = "[::]:4000""#,
            r#"stall = "3s""#,
            r#"ping-interval = "25s""#,
        ] {
            assert!(printed.lines().any(|printed| printed == line), "{line} in {printed}");
        }
        let local = "http://localhost:3000";
        assert_eq!(origins(&settings), [local, "https://a.example", "https://b.example"]);
        let settings = apply(&["--listen", "127.0.0.1:1"], ("flag", ""), variables).unwrap();
        assert_eq!(settings.config.listen, "127.0.0.1:1".parse().unwrap());
        let file = ("origins", "allowed-origin = ['https://c.example']\nlisten = '6000'");
        let settings = apply(&[], file, variables).unwrap();
        let named = ["https://c.example", "https://a.example", "https://b.example"];
        assert_eq!(origins(&settings), named);
        let settings = apply(&[], file, empty).unwrap();
        assert_eq!(origins(&settings), ["https://c.example"]);
        assert_eq!(settings.config.listen, "[::]:6000".parse().unwrap());
    }

    #[test]
    fn printed_config_is_read_back() {
        let file = ("printed", "max-payload = 20000000\nping-timeout = '1500ms'");
        let printed = apply(&[], file, |_| None).unwrap().print();
        let again = apply(&[], ("again", &printed), |_| None).unwrap().print();
        assert_eq!(printed, again);
        assert!(printed.contains("max-payload = 20000000"), "{printed}");
        assert!(printed.contains("ping-timeout = \"1s 500ms\""), "{printed}");
    }

    #[test]
    fn rate_limits_off_lifts_what_counts_per_address() {
        let limits = |arguments: &[&'static str]| {
            let settings = apply(arguments, ("rates", ""), |_| None).unwrap();
            let hub = settings.config.hub();
            let limits = hub.limits();
            let places = [limits.waiting_per_person, limits.waiting_per_address];
            (limits.rates.is_some(), places, limits.block_address_for.as_secs())
        };
        assert_eq!(limits(&[]), (true, [4, 200], 6 * 3600));
        assert_eq!(limits(&["--rate-limits", "off"]), (false, [0, 0], 0));
        let options = ["--waiting-per-person", "9", "--waiting-per-address", "7"];
        assert_eq!(limits(&options).1, [9, 7]);
    }

    #[test]
    fn unknown_key_gets_a_hint() {
        let error = apply(&[], ("unknown", "max-payloads = 1"), |_| None).unwrap_err();
        assert_eq!(error, "there is no option `max-payloads`; did you mean `max-payload`?");
    }

    #[test]
    fn invalid_value_names_its_place() {
        for (flags, file, variables, message) in [
            (
                &["--drain", "soon"][..],
                "",
                [""; 2],
                "--drain must be a time such as 20s, 500ms or 1m 30s, not \"soon\"",
            ),
            (
                &[],
                "drain = '1s'\nstall = 'soon'",
                [""; 2],
                "file, line 2: stall must be a time such as 20s, 500ms or 1m 30s, not \"soon\"",
            ),
            (&[], "drain = []", [""; 2], "file, line 1: drain must be a single value"),
            (
                &[],
                "image-bytes = 'many'",
                [""; 2],
                "file, line 1: image-bytes must be a whole number from 0, not \"many\"",
            ),
            (
                &[],
                "",
                ["PORT", "many"],
                "PORT must be a port or an address and port such as 127.0.0.1:3007, not \"many\"",
            ),
            (
                &[],
                "",
                ["HOST_URL", "https://a/b"],
                "HOST_URL must be an origin such as https://chat.example, not \"https://a/b\"",
            ),
            (
                &["--max-connections", "0"],
                "",
                [""; 2],
                "--max-connections must be a whole number from 1, not \"0\"",
            ),
            (
                &["--message-rate", "0+5"],
                "",
                [""; 2],
                "--message-rate must be PER_SECOND+BURST from 1+1, such as 100+4000, not \"0+5\"",
            ),
        ] {
            let [name, value] = variables;
            let variable = |asked: &str| (asked == name).then(|| value.to_owned());
            assert_eq!(apply(flags, ("file", file), variable).unwrap_err(), message);
        }
    }

    #[test]
    fn values_that_do_not_go_together_are_refused() {
        for (flags, message) in [
            (
                ["--image-bytes", "20000000"],
                "--max-payload must be at least --image-bytes and 1,024 more",
            ),
            (["--stall", "0s"], "--stall must be longer than 0s"),
            (["--buffered-bytes", "11999999"], "--buffered-bytes must be at least --max-payload"),
            (
                ["--buffered-bytes-per-address", "1"],
                "--buffered-bytes-per-address must be 0 or at least --max-payload",
            ),
            (["--queue-items", "0"], "--queue-items must be at least 1"),
        ] {
            assert_eq!(apply(&flags, ("file", ""), |_| None).unwrap_err(), message);
        }
    }
}
