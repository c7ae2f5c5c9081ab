//! The arrows between the crates, and the size and shape of their files.
//!
//! Owns the rules that the compiler does not know. `crates/README.md` draws the same picture for people.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// Which crates of the workspace each crate may depend on.
const ARROWS: [(&str, &[&str]); 14] = [
    ("domain", &[]),
    ("failpoints", &[]),
    ("wire", &["domain"]),
    ("signing", &["domain"]),
    ("egress", &["domain", "failpoints"]),
    ("store", &["wire", "domain"]),
    ("broker", &["wire", "domain", "failpoints"]),
    ("runtime", &[]),
    ("traces", &["runtime", "wire"]),
    ("producer", &["broker", "wire", "domain"]),
    (
        "router",
        &[
            "broker",
            "store",
            "wire",
            "domain",
            "failpoints",
            "runtime",
            "traces",
        ],
    ),
    (
        "sender",
        &[
            "broker",
            "store",
            "signing",
            "egress",
            "wire",
            "domain",
            "failpoints",
            "runtime",
            "traces",
        ],
    ),
    (
        "web",
        &[
            "producer",
            "store",
            "signing",
            "egress",
            "domain",
            "failpoints",
            "runtime",
            "traces",
        ],
    ),
    (
        "nuncio",
        &[
            "broker",
            "domain",
            "egress",
            "failpoints",
            "producer",
            "router",
            "runtime",
            "sender",
            "signing",
            "store",
            "traces",
            "web",
            "wire",
        ],
    ),
];

/// Libraries with one user each.
const SINGLE_USERS: [(&str, &str); 4] = [
    ("lapin", "nuncio-broker"),
    ("redis", "nuncio-store"),
    ("deadpool-redis", "nuncio-store"),
    ("backoff", "nuncio-broker"),
];

/// What pure crates must not know: the runtime, the network, the stores.
const IMPURE: [&str; 8] = [
    "tokio",
    "tokio-util",
    "reqwest",
    "lapin",
    "redis",
    "deadpool-redis",
    "axum",
    "metrics",
];
const PURE_CRATES: [&str; 3] = ["nuncio-domain", "nuncio-wire", "nuncio-signing"];

/// No file is longer.
const LINES_MAX: usize = 600;
const SOURCE_ENDINGS: [&str; 7] = ["rs", "sh", "py", "js", "mjs", "css", "html"];

/// The package of end-to-end tests, which speaks to the servers itself.
const OUTSIDER: &str = "e2e";

struct Package {
    name: String,
    directory: PathBuf,
    /// Names of normal and build dependencies.
    dependencies: BTreeSet<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests lie in the workspace")
        .to_owned()
}

fn packages() -> Vec<Package> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let packages = metadata["packages"].as_array().expect("there are packages");
    packages.iter().map(package).collect()
}

fn package(package: &Value) -> Package {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let dependencies = package["dependencies"].as_array().expect("a list");
    Package {
        name: text(&package["name"]),
        directory: Path::new(&text(&package["manifest_path"]))
            .parent()
            .expect("a manifest lies in a directory")
            .to_owned(),
        dependencies: dependencies
            .iter()
            .filter(|dependency| dependency["kind"] != "dev")
            .map(|dependency| text(&dependency["name"]))
            .collect(),
    }
}

fn in_full(short: &str) -> String {
    match short {
        "nuncio" => "nuncio".to_owned(),
        other => format!("nuncio-{other}"),
    }
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a readable directory") {
        let path = entry.expect("a readable entry").path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if path.is_dir() {
            if !name.starts_with('.') && !["target", "node_modules", "venv"].contains(&name.as_str()) {
                sources(&path, found);
            }
        } else if path
            .extension()
            .is_some_and(|ending| SOURCE_ENDINGS.iter().any(|known| ending == *known))
        {
            found.push(path);
        }
    }
}

fn all_sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for part in ["crates", "tests", "deploy"] {
        sources(&root().join(part), &mut found);
    }
    assert!(found.len() > 50, "only {} source files found", found.len());
    found
}

#[test]
fn crates_depend_on_each_other_along_the_arrows_only() {
    let arrows: BTreeMap<String, BTreeSet<String>> = ARROWS
        .iter()
        .map(|(from, to)| (in_full(from), to.iter().map(|name| in_full(name)).collect()))
        .collect();
    let mut seen = BTreeSet::new();
    for package in packages().into_iter().filter(|package| package.name != OUTSIDER) {
        let allowed = arrows
            .get(&package.name)
            .unwrap_or_else(|| panic!("{} has no arrows: draw them", package.name));
        let used: BTreeSet<_> = package
            .dependencies
            .iter()
            .filter(|name| *name == "nuncio" || name.starts_with("nuncio-"))
            .cloned()
            .collect();
        let forbidden: Vec<_> = used.difference(allowed).collect();
        assert!(
            forbidden.is_empty(),
            "{} must not depend on {forbidden:?}",
            package.name
        );
        seen.insert(package.name);
    }
    assert_eq!(
        seen,
        arrows.into_keys().collect(),
        "the crates that exist and those with arrows"
    );
}

#[test]
fn lapin_and_redis_have_one_user_each() {
    let packages = packages();
    for (library, user) in SINGLE_USERS {
        let users: Vec<_> = packages
            .iter()
            .filter(|package| package.name != OUTSIDER && package.dependencies.contains(library))
            .map(|package| package.name.as_str())
            .collect();
        assert_eq!(users, [user], "users of {library}");
    }
}

#[test]
fn pure_crates_know_no_runtime_and_no_network() {
    for package in packages()
        .iter()
        .filter(|package| PURE_CRATES.contains(&package.name.as_str()))
    {
        for library in IMPURE {
            assert!(
                !package.dependencies.contains(library),
                "{} uses {library}",
                package.name
            );
        }
    }
}

#[test]
fn no_file_is_over_the_limit() {
    let mut long = Vec::new();
    for path in all_sources() {
        let lines = fs::read_to_string(&path)
            .expect("sources are text")
            .lines()
            .count();
        if lines > LINES_MAX {
            long.push(format!("{}: {lines} lines", path.display()));
        }
    }
    assert!(long.is_empty(), "over {LINES_MAX} lines:\n{}", long.join("\n"));
}

#[test]
fn modules_lie_beside_their_folders() {
    let old: Vec<_> = all_sources()
        .into_iter()
        .filter(|path| path.ends_with("mod.rs"))
        .collect();
    assert!(old.is_empty(), "{old:?}");
}

#[test]
fn every_crate_begins_with_what_it_owns_guarantees_and_refuses_to_know() {
    for package in packages().iter().filter(|package| package.name != OUTSIDER) {
        let source = ["src/lib.rs", "src/main.rs"]
            .iter()
            .find_map(|file| fs::read_to_string(package.directory.join(file)).ok())
            .unwrap_or_else(|| panic!("{} has no source", package.name));
        let opening: String = source
            .lines()
            .take_while(|line| line.starts_with("//!"))
            .collect::<Vec<_>>()
            .join("\n");
        for word in ["Owns", "Guarantees", "Refuses to"] {
            assert!(
                opening.contains(word),
                "the first lines of {} lack {word:?}",
                package.name
            );
        }
    }
}
