//! Who may know whom. The table below is the architecture; an edge that is not in it fails here, so that it is
//! argued for rather than grown.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Which modules of the engine each of them may name.
const MAY_NAME: &[(&str, &[&str])] = &[
    ("access", &["config"]),
    ("address", &["config"]),
    ("config", &[]),
    ("control", &["access", "config", "metrics", "problem", "serve", "session"]),
    ("fetch", &["address", "config"]),
    ("ffmpeg", &["mux"]),
    ("hls", &["access", "config", "metrics", "problem", "serve", "session"]),
    ("launch", &[]),
    ("metrics", &[]),
    ("mux", &[]),
    // Both listeners refuse in the same words.
    ("problem", &["session"]),
    // The launcher's own words for what it is told and what it says.
    ("process", &["launch"]),
    ("serve", &[]),
    ("session", &["address", "config", "fetch", "ffmpeg", "metrics", "mux", "process"]),
];

/// These speak the words of the wire: the playback API answers a start and a refusal as the control socket does.
const MAY_NAME_THE_PROTOCOL: &[&str] = &["control", "hls", "problem"];

/// These wire the parts together and may name them all.
const WIRING: &[&str] = &["boot", "lib", "main"];

/// Modules that decide and do nothing, and what they would need to do something.
const PURE: &[&str] = &["ffmpeg", "mux"];
const EFFECTS: &[&str] =
    &["tokio::", "std::fs", "std::net", "std::process", "std::thread", "Instant::now", "SystemTime"];

/// The console's files that talk to the engine.
const CLIENT: &str = "client";

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate lies in the repository").to_path_buf()
}

/// A source file: where it is, seen from its crate's `src`, and what stands in it.
struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    /// The module at the top of its path: `session` for `session/run.rs`.
    fn module(&self) -> String {
        let first = self.path.components().next().expect("a file has a name").as_os_str().to_string_lossy();
        first.trim_end_matches(".rs").to_owned()
    }

    /// The text without comments and without the tests at its end.
    fn code(&self) -> String {
        let code = self.text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        code.lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .fold(String::new(), |all, line| all + line + "\n")
    }

    fn is_test(&self) -> bool {
        let name = self.path.file_stem().unwrap_or_default().to_string_lossy();
        name == "tests"
            || name.starts_with("against_")
            || self.path.components().any(|part| part.as_os_str() == "tests")
    }
}

/// All sources under `root`, their paths as seen from there.
fn sources(root: &str) -> Vec<Source> {
    let root = repository().join(root);
    let mut found = vec![];
    let mut directories = vec![root.clone()];
    while let Some(directory) = directories.pop() {
        for entry in
            fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push(Source { path: path.strip_prefix(&root).unwrap().to_path_buf(), text });
            }
        }
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    assert!(!found.is_empty(), "{} has sources", root.display());
    found
}

/// The modules named after `crate::`, also in braces: `use crate::{config, mux::Track}`.
fn named(code: &str) -> BTreeSet<String> {
    let word = |text: &str| {
        text.chars().take_while(|char| char.is_alphanumeric() || *char == '_').collect::<String>()
    };
    let mut names = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        // `$crate::` and `other_crate::` are something else.
        if code[..at].ends_with(|char: char| char.is_alphanumeric() || char == '_' || char == '$') {
            continue;
        }
        let Some(group) = rest.strip_prefix('{') else {
            names.insert(word(rest));
            continue;
        };
        let mut depth = 0;
        let mut start = 0;
        for (index, char) in group.char_indices() {
            match char {
                '{' => depth += 1,
                '}' if depth == 0 => {
                    names.insert(word(group[start..index].trim_start()));
                    break;
                }
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    names.insert(word(group[start..index].trim_start()));
                    start = index + 1;
                }
                _ => {}
            }
        }
    }
    names.remove("");
    names
}

#[test]
fn names_are_found_however_they_are_written() {
    let code = "use crate::config;\nuse crate::{mux::{self, Track}, fetch,\n session::Handle};\npub(in crate::hls) x: \
                crate::serve::Peer, $crate::no, sub_crate::no";
    let expected = ["config", "fetch", "hls", "mux", "serve", "session"].map(str::to_owned);
    assert_eq!(named(code), BTreeSet::from(expected));
}

#[test]
fn modules_of_the_engine_know_only_whom_they_may() {
    let mut wrong = vec![];
    for source in sources("engine/src") {
        let module = source.module();
        // Tests may build whatever they need.
        if WIRING.contains(&module.as_str()) || source.is_test() {
            continue;
        }
        let Some((_, may)) = MAY_NAME.iter().find(|(name, _)| *name == module) else {
            wrong.push(format!("{} belongs to no module of the table", source.path.display()));
            continue;
        };
        for name in named(&source.code()) {
            if name != module && !may.contains(&name.as_str()) && sources_have(&name) {
                wrong.push(format!("{} names crate::{name}", source.path.display()));
            }
        }
        // Text may point to it, in backticks.
        let knows_wire = source.code().replace("`sluice_protocol", "").contains("sluice_protocol");
        if knows_wire && !MAY_NAME_THE_PROTOCOL.contains(&module.as_str()) {
            wrong.push(format!("{} names the protocol", source.path.display()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Whether `name` is a module of the engine, and not a type or a macro of its root.
fn sources_have(name: &str) -> bool {
    MAY_NAME.iter().any(|(module, _)| *module == name) || WIRING.contains(&name)
}

#[test]
fn what_decides_does_nothing() {
    let mut wrong = vec![];
    for source in sources("engine/src").iter().filter(|source| PURE.contains(&source.module().as_str())) {
        if source.is_test() {
            continue;
        }
        for effect in EFFECTS {
            if source.code().contains(effect) {
                wrong.push(format!("{} names {effect}", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn children_are_started_in_one_place() {
    let mut wrong = vec![];
    for source in sources("engine/src") {
        if source.is_test() || ["process", "launch"].contains(&source.module().as_str()) {
            continue;
        }
        for call in ["Command::new(", ".spawn()", "disallowed_methods"] {
            // A task or a thread is spawned with what it does between the parentheses.
            if source.code().contains(call) {
                wrong.push(format!("{} has {call}", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_console_knows_the_protocol_and_not_the_engine() {
    let manifest = fs::read_to_string(repository().join("tui/Cargo.toml")).unwrap();
    assert!(manifest.contains("sluice-protocol"));
    assert!(!manifest.contains("sluice-engine"));
    let manifest = fs::read_to_string(repository().join("engine/protocol/Cargo.toml")).unwrap();
    for stranger in ["tokio", "warp", "sluice-engine"] {
        assert!(!manifest.contains(stranger), "the protocol depends on {stranger}");
    }
    let mut wrong = vec![];
    for source in sources("tui/src").iter().filter(|source| source.module() != CLIENT && !source.is_test()) {
        for io in ["reqwest", "UnixStream", "std::net", "tokio::net", "std::process::Command"] {
            if source.code().contains(io) {
                wrong.push(format!("{} names {io}", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_file_opens_with_what_it_is() {
    let mut wrong = vec![];
    for root in ["engine/src", "engine/protocol/src", "tui/src", "tests"] {
        for source in sources(root) {
            if !source.text.starts_with("//! ") {
                wrong.push(format!("{root}/{}", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "these files don't open with `//!`: {wrong:#?}");
}

#[test]
fn nothing_is_left_to_be_done_later_in_silence() {
    // Put together here, so that this file is not found by its own search.
    let forbidden = [["to", "do!("].concat(), ["unimple", "mented!("].concat(), ["#[", "ignore"].concat()];
    let mut wrong = vec![];
    for root in ["engine/src", "engine/protocol/src", "tui/src", "tests"] {
        for source in sources(root) {
            for word in &forbidden {
                if source.text.contains(word.as_str()) {
                    wrong.push(format!("{root}/{} has {word}", source.path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
