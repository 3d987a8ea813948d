//! Where the built programs are: beside the program that asks.
//!
//! Cargo tells a test only about the binaries of its own package, so the others are looked for in the
//! directory that this very program was built into.

use std::path::{Path, PathBuf};

/// The directory of this build profile, such as `target/debug`.
pub fn profile_directory() -> PathBuf {
    let program = std::env::current_exe().expect("a running program has a path");
    program.ancestors().find(|directory| directory.join("deps").is_dir()).map_or_else(
        || panic!("{} was not started from a target directory", program.display()),
        Path::to_path_buf,
    )
}

/// The directory that builds share, such as `target`, for what is made once and used by many.
pub fn target_directory() -> PathBuf {
    let profile = profile_directory();
    profile.parent().map_or_else(|| profile.clone(), Path::to_path_buf)
}

/// The built program `name`.
///
/// # Panics
///
/// Where it was not built: `cargo test` alone builds no other package's programs.
pub fn program(name: &str) -> PathBuf {
    let path = profile_directory().join(name);
    assert!(
        path.is_file(),
        "{} is missing: `just test` builds it, `cargo test` alone does not",
        path.display()
    );
    path
}
