//! Imports go one way, from the shells down to plain data, in both crates.

use std::{fs, path::Path};

/// Modules of each crate, lowest first. Those of one row do not import each other.
const LAYERS: [(&str, &[&[&str]]); 2] = [
    (
        "../purrr-core/src",
        &[
            &["sync", "model"],
            &["rate", "matching", "people", "codec"],
            &["session", "backend"],
            &["hub"],
        ],
    ),
    (
        "src",
        &[
            &["net"],
            &["config"],
            &["limits", "liveness"],
            &["transport"],
            &["dialect"],
            &["http"],
            &["server"],
            &["cli"],
        ],
    ),
];

#[test]
fn imports_go_one_way() {
    for (root, layers) in LAYERS {
        let layer = |module: &str| layers.iter().position(|layer| layer.contains(&module));
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(root);
        for (module, path, text) in sources(&root, None) {
            let Some(own) = layer(&module) else { continue };
            for imported in imports(&text) {
                let is_lower = layer(imported).is_none_or(|layer| layer < own);
                assert!(is_lower || imported == module, "{path} imports {imported}");
            }
        }
    }
}

/// Returns each source file with the module at the crate's root that it belongs to.
fn sources(folder: &Path, module: Option<&str>) -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let stem = path.file_stem().and_then(|stem| stem.to_str()).expect("a UTF-8 name");
        let module = module.unwrap_or(stem);
        if path.is_dir() {
            found.extend(sources(&path, Some(module)));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source file");
            found.push((module.to_owned(), path.display().to_string(), text));
        }
    }
    found
}

/// Returns the modules at the crate's root that a file names, in `use` lines or in place.
fn imports(text: &str) -> Vec<&str> {
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let line = code[..at].rsplit('\n').next().unwrap_or_default();
        if line.contains("//") || line.ends_with('$') {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            None => found.extend(first_word(rest)),
            Some(group) => found.extend(group_heads(group)),
        }
    }
    found
}

/// Returns the first word of each path in `a::b, c::{d, e}}`.
fn group_heads(group: &str) -> Vec<&str> {
    let (mut heads, mut depth, mut begin) = (Vec::new(), 0, 0);
    for (at, char) in group.char_indices() {
        match char {
            '{' => depth += 1,
            '}' if depth == 0 => {
                heads.extend(first_word(&group[begin..at]));
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                heads.extend(first_word(&group[begin..at]));
                begin = at + 1;
            }
            _ => {}
        }
    }
    heads
}

fn first_word(path: &str) -> Option<&str> {
    path.trim_start().split(|char: char| !char.is_alphanumeric() && char != '_').next()
}
