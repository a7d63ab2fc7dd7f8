//! Imports go one way, from the shells down to plain data, in each crate.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// Modules of each crate, lowest first. Those of one row do not import each other.
const LAYERS: [(&str, &[&[&str]]); 3] = [
    (
        "../purrr-core/src",
        &[
            &["sync", "model"],
            &["rate", "matching", "people", "codec"],
            &["session", "backend"],
            &["hub"],
        ],
    ),
    ("../purrr-redis/src", &[&["protocol", "numbers"], &["scripts"], &["node"], &["people"]]),
    (
        "src",
        &[
            &["net", "identify"],
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
    let code = without_tests(text);
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

/// Returns a file's text up to its test module, which may import anything.
fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default()
}

// ---- Files --------------------------------------------------------------------------------------

/// Finds a circle of files, also within a folder.
///
/// A module is one with the modules that it declares: they may use what it defines, and it depends
/// on what they import. So only an import by a descendant counts for nothing; a circle of siblings,
/// or of a module and one elsewhere, is found. A name is followed through re-exports to the file
/// that defines it. Files that only tests and fuzz targets have are left out.
#[test]
fn files_form_no_import_circle() {
    for (root, _) in LAYERS {
        let modules = modules(&Path::new(env!("CARGO_MANIFEST_DIR")).join(root));
        assert!(modules.len() > 10, "{root} is read");
        let named: Names =
            modules.iter().map(|(module, code)| (module.clone(), paths(module, code))).collect();
        let edges =
            named.keys().map(|module| (module.clone(), dependencies(module, &named))).collect();
        let mut done = BTreeSet::new();
        for module in named.keys() {
            visit(module, &edges, &mut Vec::new(), &mut done);
        }
    }
}

/// A module's path below the crate's root.
type Module = Vec<String>;

/// What each module names, by paths from the crate's root.
type Names = BTreeMap<Module, Vec<Module>>;

/// Returns the code of each module that is a file.
fn modules(root: &Path) -> BTreeMap<Module, String> {
    let mut found = BTreeMap::new();
    for (_, path, text) in sources(root, None) {
        let path = Path::new(&path).strip_prefix(root).expect("below the root").with_extension("");
        let mut module: Module = path.iter().map(|part| part.to_string_lossy().into()).collect();
        if matches!(module.last().map(String::as_str), Some("mod" | "lib" | "main")) {
            module.pop();
        }
        let code: String = without_tests(&text)
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .flat_map(|line| [line, "\n"])
            .collect();
        found.insert(module, code);
    }
    let tests: Vec<Module> =
        found.iter().flat_map(|(module, code)| test_files(module, code)).collect();
    found.retain(|module, _| !tests.iter().any(|test| module.starts_with(test)));
    found
}

/// Returns the modules that a module declares for tests or fuzz targets alone.
fn test_files(module: &Module, code: &str) -> Vec<Module> {
    let conditions = ["#[cfg(test)]\nmod ", "#[cfg(feature = \"fuzzing\")]\npub(crate) mod "];
    let declarations = conditions.iter().flat_map(|condition| code.split(condition).skip(1));
    let names = declarations.filter_map(|rest| rest.split_once(';')).map(|(name, _)| name);
    names.map(|name| [&module[..], &[name.to_owned()]].concat()).collect()
}

fn dependencies(module: &Module, named: &Names) -> BTreeSet<Module> {
    let imported = named[module].iter().filter_map(|path| resolve(path, named, 0));
    let is_child = |other: &&Module| {
        other.len() == module.len() + 1 && other.starts_with(module) && !module.is_empty()
    };
    let declared = named.keys().filter(is_child).cloned();
    imported.chain(declared).filter(|other| !module.starts_with(other)).collect()
}

/// Returns every path that a module's code names, from the crate's root.
fn paths(module: &Module, code: &str) -> Vec<Module> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("::") {
        // The word before, unless it goes on to the left.
        let begin = code[..at].rfind(|char: char| !is_word(char)).map_or(0, |before| before + 1);
        if code[..begin].ends_with("::") || code[..begin].ends_with('$') {
            continue;
        }
        expand(&[], &code[begin..], &mut |path| found.push(absolute(module, path)));
    }
    found
}

/// Calls `found` with each path of a tree such as `a::{b, c::d}`.
fn expand(prefix: &[String], tree: &str, found: &mut impl FnMut(&[String])) {
    let tree = tree.trim_start();
    let end = tree.find(|char: char| !is_word(char)).unwrap_or(tree.len());
    let path = [prefix, &[tree[..end].to_owned()]].concat();
    match tree[end..].strip_prefix("::") {
        Some(rest) if rest.starts_with('{') => {
            for item in items(&rest[1..]) {
                expand(&path, item, found);
            }
        }
        Some(rest) if rest.starts_with(is_word) => expand(&path, rest, found),
        _ => found(&path),
    }
}

/// Returns what commas separate, up to the brace that closes.
fn items(group: &str) -> Vec<&str> {
    let (mut items, mut depth, mut begin) = (Vec::new(), 0, 0);
    for (at, char) in group.char_indices() {
        match char {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            '}' | ',' if depth == 0 => {
                items.push(&group[begin..at]);
                begin = at + 1;
                if char == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    items.retain(|item| !item.trim().is_empty());
    items
}

fn is_word(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

/// Returns a path from the crate's root. One that begins with a word begins at a child.
fn absolute(module: &Module, path: &[String]) -> Module {
    let mut absolute = module.clone();
    for part in path {
        match part.as_str() {
            "crate" => absolute.clear(),
            "super" => drop(absolute.pop()),
            "self" => {}
            part => absolute.push(part.to_owned()),
        }
    }
    absolute
}

/// Returns the module that defines what a path names, which imports may have passed on.
fn resolve(path: &Module, named: &Names, depth: u32) -> Option<Module> {
    let longest = (0..=path.len()).rev().find(|end| named.contains_key(&path[..*end]))?;
    let (module, rest) = path.split_at(longest);
    let Some(name) = rest.first() else { return Some(path.clone()) };
    let passed_on = named[module].iter().find(|other| {
        other.last() == Some(name) && *other != path && named.contains_key(&other[..1])
    });
    match passed_on.filter(|_| depth < 8) {
        Some(other) => resolve(other, named, depth + 1),
        None => Some(module.to_vec()),
    }
}

fn visit(
    module: &Module,
    edges: &BTreeMap<Module, BTreeSet<Module>>,
    under_way: &mut Vec<Module>,
    done: &mut BTreeSet<Module>,
) {
    if done.contains(module) {
        return;
    }
    if let Some(begin) = under_way.iter().position(|other| other == module) {
        let circle = under_way[begin..].iter().chain([module]);
        let circle: Vec<_> = circle.map(|module| module.join("::")).collect();
        panic!("modules import each other: {}", circle.join(" -> "));
    }
    under_way.push(module.clone());
    for other in &edges[module] {
        visit(other, edges, under_way, done);
    }
    under_way.pop();
    done.insert(module.clone());
}
