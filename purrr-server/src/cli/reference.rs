//! The tables of `docs/configuration.md`: [`reference`].

use super::{
    file::texts,
    setting::{Setting, Settings},
    settings::GROUPS,
};

/// Returns a table of each group of settings, in Markdown.
pub(super) fn reference() -> String {
    let defaults = Settings::default();
    let mut tables = String::new();
    for (heading, settings) in GROUPS {
        tables += &format!("\n## {heading}\n\n");
        tables += "| option | variable | default | unit | what it sets | at most |\n";
        tables += "|---|---|--:|---|---|---|\n";
        for setting in settings {
            tables += &row(setting, &defaults);
        }
    }
    tables
}

fn row(setting: &Setting, defaults: &Settings) -> String {
    let Setting { value, help, details, unit, .. } = setting;
    let unit = if unit.is_empty() { &value.to_lowercase() } else { *unit };
    let default = texts(&(setting.get)(defaults)).join(" ");
    let default = if default.is_empty() { "none" } else { &default };
    let memory = if setting.memory.is_empty() { "–" } else { setting.memory };
    let about = flags_as_code(&format!("{help}. {details}"));
    let (name, variable) = (setting.name(), setting.variable());
    format!(
        "| `--{name}` | `{variable}` | {default} | {unit} | {} | {memory} |\n",
        about.trim_end()
    )
}

/// Puts words that begin with two dashes between backticks.
fn flags_as_code(text: &str) -> String {
    let words = text.split(' ').map(|word| match word.strip_prefix("--") {
        Some(name) => {
            let end = name.find(|c: char| !c.is_ascii_alphabetic() && c != '-');
            let (name, rest) = name.split_at(end.unwrap_or(name.len()));
            format!("`--{name}`{rest}")
        }
        None => word.to_owned(),
    });
    words.collect::<Vec<_>>().join(" ")
}
