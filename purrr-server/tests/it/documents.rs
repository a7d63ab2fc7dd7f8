//! What the documents must list, besides the options (see `cli.rs`).

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use purrr_core::Code;

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
