//! The command line, variables and the file, put together: [`Cli`].

use std::{collections::BTreeSet, path::PathBuf};

use clap::{CommandFactory, Parser, Subcommand};

use super::{ConfigError, Options};
use crate::config::Config;

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "purrr-server",
    version,
    about = "Random chat between strangers: a web page, WebSocket and Socket.IO over one lobby",
    after_help = "Every option can also be given as the variable shown with it, or in the file of --config under its name \
                  without the dashes. A TIME is written as 20s, 500ms or 1m 30s; a number alone is in milliseconds. A RATE is so much a second and so much at once, written as 100+4000. A flag beats a variable, a variable the file, the file the default."
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

impl Cli {
    /// Puts flags, variables and the file together.
    ///
    /// # Errors
    ///
    /// A [`ConfigError`] that says what to put right.
    pub fn options(&self) -> Result<Options, ConfigError> {
        check_variables(std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()))?;
        let file = self.config.as_ref().map_or_else(|| Ok(Options::default()), read_file)?;
        Ok(self.options.clone().completed(|name| std::env::var(name).ok(), file))
    }
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

impl Options {
    /// Fills in what Purrr.chat's deployments set, and what the file says, where nothing better was given. A variable that is
    /// empty is none.
    fn completed(mut self, variable: impl Fn(&str) -> Option<String>, file: Self) -> Self {
        self.listen = self.listen.or_else(|| variable("PORT").filter(|port| !port.is_empty()));
        let mut whole = self.or(file);
        let host_url = variable("HOST_URL").unwrap_or_default();
        let mut origins = host_url.split_whitespace().map(str::to_owned).peekable();
        if origins.peek().is_some() {
            // Beside those that were named, or beside the default: as in Purrr.chat's own server.
            let named = whole.allowed_origin.get_or_insert(Config::default().allowed_origins);
            named.extend(origins);
        }
        whole
    }

    /// These options, and those of the file where nothing was given.
    fn or(self, file: Self) -> Self {
        let tables = [file, self].map(|options| {
            toml::Table::try_from(options).expect("options are strings, numbers and lists of them")
        });
        let given: toml::Table = tables.into_iter().flatten().collect();
        given.try_into().expect("what was written as options is read as options")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
        let config = flags.completed(variables, file).resolve().unwrap();
        assert_eq!(config.drain, Duration::from_secs(1));
        assert_eq!(config.listen, "0.0.0.0:4000".parse().unwrap());
        assert_eq!(config.limits.stall, Duration::from_secs(3));
        assert_eq!(config.ping_interval, Duration::from_secs(25));
        let local = "http://localhost:3000";
        assert_eq!(config.allowed_origins, [local, "https://a.example", "https://b.example"]);
        let spelled = options("listen = '127.0.0.1:1'").completed(variables, Options::default());
        assert_eq!(spelled.resolve().unwrap().listen, "127.0.0.1:1".parse().unwrap());
        let file = options("allowed-origin = ['https://c.example']\nlisten = '6000'");
        let both = Options::default().completed(variables, file.clone()).resolve().unwrap();
        let named = ["https://c.example", "https://a.example", "https://b.example"];
        assert_eq!(both.allowed_origins, named);
        let empty = Options::default().completed(|_| Some(String::new()), file).resolve().unwrap();
        assert_eq!(empty.allowed_origins, ["https://c.example"]);
        assert_eq!(empty.listen, "0.0.0.0:6000".parse().unwrap());
    }

    #[test]
    fn a_misspelt_name_is_refused_with_the_right_one() {
        let error = check_variables(["HOME", "PURRR_DRIAN"].into_iter().map(str::to_owned));
        let message = error.unwrap_err().to_string();
        assert_eq!(message, "there is no option `PURRR_DRIAN`; did you mean `PURRR_DRAIN`?");
        let message = unknown("max-payloads", option_names()).to_string();
        assert_eq!(message, "there is no option `max-payloads`; did you mean `max-payload`?");
    }
}
