//! What the documents must list, besides the options (see `cli.rs`).

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use std::collections::BTreeMap;

use purrr_core::Code;

use crate::support::Server;

/// Returns a document of the folder `docs`.
fn document(name: &str) -> String {
    std::fs::read_to_string(format!("{}/../docs/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

#[test]
fn documentation_has_every_error_code() {
    let page = document("protocol.md");
    for code in Code::ALL {
        let row = format!("| `{}` |", code.as_str());
        assert!(page.contains(&row), "docs/protocol.md has no row for {row}");
    }
}

#[test]
fn documentation_has_every_close_code() {
    let page = document("protocol.md");
    for code in [1000, 1001, 1002, 1007, 1008, 1009, 4429] {
        let row = format!("\n| {code} |");
        assert!(page.contains(&row), "docs/protocol.md has no row for {code}");
    }
}

#[tokio::test]
async fn documentation_has_every_metric() {
    let server = Server::start().await;
    let metrics = server.ask("GET /metrics", &["Accept: application/openmetrics-text"]).await.body;
    let page = document("deployment.md");
    let (_, table) = page.split_once("| metric | type | labels | meaning |\n").unwrap();
    let mut documented = BTreeMap::new();
    for row in table.lines().skip(1).take_while(|line| line.starts_with('|')) {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [names, kind, labels, meaning] = cells[..] else { panic!("{row}") };
        for name in names.split(", ") {
            documented.insert(name.trim_matches('`'), (kind, labels, meaning));
        }
    }
    let (mut kind, mut served) = ("", Vec::new());
    for line in metrics.lines() {
        if line.starts_with("# TYPE ") {
            kind = line.rsplit(' ').next().unwrap();
        }
        if line.starts_with('#') {
            continue;
        }
        let name = line.split(['{', ' ']).next().unwrap();
        let row = documented.get(name);
        let (of_kind, labels, meaning) = row.unwrap_or_else(|| panic!("no row for {line}"));
        assert_eq!(*of_kind, kind, "{line}");
        let label = line.split_once('{').and_then(|(_, rest)| rest.split_once("=\""));
        match label {
            None => assert_eq!(*labels, "", "{line}"),
            Some((label, value)) => {
                assert_eq!(*labels, format!("`{label}`"), "{line}");
                let value = value.split('"').next().unwrap();
                // Codes, dialects and versions are listed elsewhere.
                let is_listed = !["limit", "reason"].contains(&label)
                    || meaning.contains(&format!("`{value}`"));
                assert!(is_listed, "the row of {name} does not name {value}");
            }
        }
        served.push(name);
    }
    for name in documented.keys() {
        assert!(served.contains(name), "the server has no {name}");
    }
}
