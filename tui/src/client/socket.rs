//! Where the control socket is, and whose.

use std::{
    env, fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::Error;

/// A socket that exists.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Where.
    pub(super) path: PathBuf,
    /// Where it was looked for, this one last.
    pub(super) tried: Vec<PathBuf>,
    /// Something odd about it.
    pub(super) warning: Option<String>,
}

/// Where to look, in order.
pub(super) fn candidates(asked: Option<&Path>) -> Vec<PathBuf> {
    let variable = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let runtime = variable("XDG_RUNTIME_DIR").map(|dir| dir.join("sluice/control.sock"));
    let mut candidates: Vec<PathBuf> = asked.map(Path::to_owned).into_iter().collect();
    candidates.extend(variable("SLUICE_SOCKET"));
    candidates.extend(runtime);
    candidates.push(PathBuf::from("/run/sluice/control.sock"));
    let mut seen = std::collections::HashSet::new();
    candidates.retain(|path| seen.insert(path.clone()));
    candidates
}

/// The first that exists. One that we may not even look at exists, too: to go on to the next would mean to
/// talk to another engine than the one that was meant.
pub(super) fn find(candidates: Vec<PathBuf>) -> Result<Found, Error> {
    let mut tried = Vec::new();
    for path in candidates {
        let first = tried.is_empty();
        tried.push(path.clone());
        match fs::metadata(&path) {
            Ok(metadata) => {
                let mut warning = stranger(&path, metadata.uid());
                if !first {
                    warning = warning.or_else(|| skipped(&tried));
                }
                return Ok(Found { path, tried, warning });
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let advice = advice(&path);
                return Err(Error::Denied { socket: path, advice });
            }
            Err(_) => {}
        }
    }
    Err(Error::NoSocket { tried })
}

/// What to do about a socket that we may not use.
pub(super) fn advice(socket: &Path) -> String {
    // The directory is what stands in the way if the socket itself can't be looked at.
    let place = fs::metadata(socket)
        .ok()
        .or_else(|| socket.ancestors().skip(1).find_map(|directory| fs::metadata(directory).ok()));
    let Some(place) = place else { return "ask whoever runs the engine".to_owned() };
    let group_may = place.mode() & 0o060 != 0 && place.gid() != 0;
    let user = env::var("USER").ok().filter(|user| !user.is_empty());
    let user = user.unwrap_or_else(|| name("/etc/passwd", rustix::process::getuid().as_raw()));
    if group_may {
        let group = name("/etc/group", place.gid());
        format!("sudo usermod -aG {group} {user}, then log in again")
    } else {
        let owner = name("/etc/passwd", place.uid());
        format!("only {owner} may; run this as {owner}, or set control.group in the engine's config")
    }
}

/// A socket of neither root's nor ours may be anybody's who wants to be taken for the engine.
fn stranger(path: &Path, owner: u32) -> Option<String> {
    let ours = rustix::process::geteuid().as_raw();
    (owner != 0 && owner != ours).then(|| {
        format!("{} belongs to {}, neither root nor you", path.display(), name("/etc/passwd", owner))
    })
}

/// A socket that was asked for by name is not there, and another is used: say so.
fn skipped(tried: &[PathBuf]) -> Option<String> {
    let (used, skipped) = tried.split_last()?;
    let named = env::var_os("SLUICE_SOCKET").map(PathBuf::from);
    let default = |path: &PathBuf| {
        path == Path::new("/run/sluice/control.sock")
            || path.ends_with("sluice/control.sock") && Some(path) != named.as_ref()
    };
    let missed = skipped.iter().find(|path| !default(path))?;
    Some(format!("{} does not exist: using {}", missed.display(), used.display()))
}

/// The name of a user or group, from the file that lists them; its number where it has none.
fn name(file: &str, id: u32) -> String {
    let list = fs::read_to_string(file).unwrap_or_default();
    let entry =
        list.lines().find(|line| line.split(':').nth(2).and_then(|field| field.parse().ok()) == Some(id));
    entry.and_then(|line| line.split(':').next()).map_or_else(|| id.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_socket_that_exists_is_used_and_a_missing_one_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let (missing, there) = (dir.path().join("missing.sock"), dir.path().join("there.sock"));
        fs::write(&there, "").unwrap();
        let found = find(vec![missing.clone(), there.clone()]).unwrap();
        assert_eq!(found.path, there);
        assert!(found.warning.unwrap().contains("missing.sock does not exist"));
        let error = find(vec![missing.clone(), dir.path().join("other.sock")]).unwrap_err();
        let words = error.to_string();
        assert!(words.contains("missing.sock") && words.contains("other.sock"), "{words}");
    }

    #[test]
    fn names_come_from_the_system_and_numbers_stand_in() {
        assert_eq!(name("/etc/passwd", 0), "root");
        assert_eq!(name("/etc/passwd", 4_000_000_001), "4000000001");
    }
}
