//! The two text formats of metrics, and which of them a scraper asks for: [`Format`].

use axum::http::{HeaderMap, header::ACCEPT};

/// A text format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    OpenMetrics,
    /// The older format of Prometheus, version 0.0.4.
    Prometheus,
}

impl Format {
    /// Returns the format that `Accept` prefers, by RFC 9110, section 12.5.1.
    ///
    /// OpenMetrics must be named, since many programs read only the older format: a request of
    /// curl, with `*/*`, may be piped into promtool. If both are named and as welcome, OpenMetrics.
    pub(super) fn asked_for(headers: &HeaderMap) -> Self {
        let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let mut welcome = [None; 2];
        for range in values.flat_map(|value| value.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let format = match parts.next().unwrap_or_default().to_ascii_lowercase().as_str() {
                "application/openmetrics-text" => Self::OpenMetrics,
                "text/plain" | "text/*" => Self::Prometheus,
                _ => continue,
            };
            let weight = parts.find_map(|part| part.strip_prefix("q="));
            let weight = weight.map_or(1.0, |weight| weight.parse().unwrap_or(0.0));
            // Thousandths, as `q` has at most three digits.
            let weight = (f32::clamp(weight, 0.0, 1.0) * 1_000.0) as u32;
            let welcome = &mut welcome[format as usize];
            *welcome = Some(weight).max(*welcome);
        }
        match welcome {
            // It is refused, so the other one.
            [None, Some(0)] => Self::OpenMetrics,
            [Some(1..), prometheus] if welcome[0] >= prometheus => Self::OpenMetrics,
            _ => Self::Prometheus,
        }
    }

    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// Returns metrics in this format, from the text of OpenMetrics.
    pub(super) fn of(self, open_metrics: String) -> String {
        match self {
            Self::OpenMetrics => open_metrics,
            Self::Prometheus => to_prometheus(&open_metrics),
        }
    }
}

/// Rewrites OpenMetrics: the older format has no units, no kind `info` and no end mark, and there a
/// counter is called as its samples are.
fn to_prometheus(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len() + 256);
    let mut help = None;
    for line in open_metrics.lines() {
        if let Some(line) = line.strip_prefix("# HELP ") {
            help = line.split_once(' ');
        } else if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|line| line.split_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", kind),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                _ => ("", kind),
            };
            if let Some((_, help)) = help.take().filter(|(named, _)| *named == name) {
                text += &format!("# HELP {name}{suffix} {help}\n");
            }
            text += &format!("# TYPE {name}{suffix} {kind}\n");
        } else if !line.starts_with('#') {
            text += line;
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn accept_chooses_the_format() {
        let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                            application/openmetrics-text;version=0.0.1;q=0.5,\
                            text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
                            text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, format) in [
            ("text/plain;version=0.0.4", Format::Prometheus),
            ("text/plain", Format::Prometheus),
            ("Text/Plain; q=0.5, */*;q=0.1", Format::Prometheus),
            ("text/*", Format::Prometheus),
            ("application/openmetrics-text;q=0.1, text/plain", Format::Prometheus),
            ("application/openmetrics-text;q=0, text/plain;q=0.1", Format::Prometheus),
            (prometheus_3, Format::OpenMetrics),
            ("application/openmetrics-text, text/plain", Format::OpenMetrics),
            ("application/openmetrics-text; version=1.0.0", Format::OpenMetrics),
            ("text/plain;q=0", Format::OpenMetrics),
            ("application/openmetrics-text;q=0", Format::Prometheus),
            ("application/*", Format::Prometheus),
            ("*/*", Format::Prometheus),
            ("", Format::Prometheus),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(Format::asked_for(&headers), format, "{accept}");
        }
        assert_eq!(Format::asked_for(&HeaderMap::new()), Format::Prometheus);
    }

    #[test]
    fn prometheus_format_names_counters_as_their_samples() {
        let open_metrics = "# HELP a_b Help text.\n# TYPE a_b counter\na_b_total{x=\"y\"} 1\n\
                            # HELP c Unit.\n# TYPE c gauge\n# UNIT c bytes\nc 2\n\
                            # HELP d Version.\n# TYPE d info\nd_info{v=\"1\"} 1\n# EOF\n";
        assert_eq!(
            Format::Prometheus.of(open_metrics.to_owned()),
            "# HELP a_b_total Help text.\n# TYPE a_b_total counter\na_b_total{x=\"y\"} 1\n\
             # HELP c Unit.\n# TYPE c gauge\nc 2\n\
             # HELP d_info Version.\n# TYPE d_info gauge\nd_info{v=\"1\"} 1\n"
        );
    }
}
