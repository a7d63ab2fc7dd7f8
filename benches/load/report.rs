//! What a run found out: [`Report`].

use std::fmt::Write;

use serde_json::{Map, Value};

/// Facts in the order in which they were found.
#[derive(Debug, Default)]
pub(crate) struct Report(Vec<(String, Value)>);

impl Report {
    pub(crate) fn say(&mut self, name: &str, value: impl Into<Value>) {
        self.0.push((name.to_owned(), value.into()));
    }

    /// Adds a number with three digits that count, which is more than any of them deserves.
    pub(crate) fn measure(&mut self, name: &str, value: f64) {
        let digits = 2 - value.abs().max(1e-3).log10().floor().clamp(-3.0, 2.0) as i32;
        let scale = 10_f64.powi(digits);
        let rounded = (value * scale).round() / scale;
        if digits == 0 {
            self.say(name, rounded as i64);
        } else {
            self.say(name, rounded);
        }
    }

    /// Adds the median of what each round gave, if there was any.
    pub(crate) fn median(&mut self, name: &str, values: impl IntoIterator<Item = f64>) {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        if let Some(median) = values.get(values.len() / 2) {
            self.measure(name, *median);
        }
    }

    pub(crate) fn json(self) -> String {
        format!("{}\n", Value::Object(self.0.into_iter().collect::<Map<_, _>>()))
    }

    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.0 {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            // Writing to a string cannot fail.
            writeln!(text, "{:<38}{value}", name.replace('_', " ")).ok();
        }
        text
    }
}
