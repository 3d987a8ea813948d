//! From the command line, the environment and a file to a [`Config`], or to all that is wrong.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::written::Written;
use super::{Config, Surroundings, sections};

/// A config file is a page or two; whatever is longer is not one.
pub(super) const FILE_LIMIT: u64 = 1 << 20;

/// What the command line says instead of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--listen`.
    pub listen: Option<String>,
    /// `--socket`; a relative path counts from the working directory.
    pub socket: Option<PathBuf>,
}

/// Where the settings came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Where {
    /// A file named by `--config`.
    Argument(PathBuf),
    /// A file named by `$SLUICE_CONFIG`.
    Environment(PathBuf),
    /// The system's own file.
    System(PathBuf),
    /// No file.
    Defaults,
}

impl Where {
    /// The file, if there is one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Argument(path) | Self::Environment(path) | Self::System(path) => Some(path),
            Self::Defaults => None,
        }
    }
}

impl fmt::Display for Where {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Argument(path) => write!(f, "{} (--config)", path.display()),
            Self::Environment(path) => write!(f, "{} ($SLUICE_CONFIG)", path.display()),
            Self::System(path) => write!(f, "{}", path.display()),
            Self::Defaults => f.write_str("the defaults (no config file)"),
        }
    }
}

/// One thing that is wrong with a config.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{says}")]
pub struct Fault {
    /// The key it is about, with its table: `server.listen`.
    pub key: String,
    /// The whole sentence, key included.
    pub says: String,
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("could not read the config `{}`", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is no config.
    #[error("the config `{}` is longer than 1 MiB", path.display())]
    TooLong {
        /// Which.
        path: PathBuf,
    },
    /// The file is not TOML.
    #[error("`{}`, line {line}, column {column}: {message}", path.display())]
    Syntax {
        /// Which.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// Counted from 1, in characters.
        column: usize,
        /// What the parser says.
        message: String,
    },
    /// The file is TOML, but not settings.
    #[error("{}", list(path.as_deref(), faults))]
    Faults {
        /// Which; `None` if there is no file and the command line or the surroundings are at fault.
        path: Option<PathBuf>,
        /// All of them.
        faults: Vec<Fault>,
    },
}

impl Config {
    /// Reads the settings: from `path` (`--config`), else the file that `$SLUICE_CONFIG` names, else the
    /// system's, else the defaults. The command line's overrides are in force before anything is checked.
    pub fn load(
        path: Option<&Path>,
        overrides: &Overrides,
        around: &Surroundings<'_>,
    ) -> Result<(Self, Where), ConfigError> {
        let from = match (path, around.variable("SLUICE_CONFIG")) {
            (Some(path), _) => Where::Argument(path.to_path_buf()),
            (None, Some(path)) => Where::Environment(path.into()),
            (None, None) => Where::System(around.system_file.clone()),
        };
        let path = from.file().expect("each of the three is a file");
        let text = match read_file(path) {
            // Only the system's file may be absent: the other two were asked for by name.
            Err(ConfigError::Read { source, .. })
                if source.kind() == io::ErrorKind::NotFound && matches!(from, Where::System(_)) =>
            {
                let config = Self::from_written(Written::empty(), overrides, around)
                    .map_err(|faults| ConfigError::Faults { path: None, faults })?;
                return Ok((config, Where::Defaults));
            }
            text => text?,
        };
        let written = Written::parse(&text).map_err(|syntax| ConfigError::Syntax {
            path: path.to_path_buf(),
            line: syntax.line,
            column: syntax.column,
            message: syntax.message,
        })?;
        let config = Self::from_written(written, overrides, around)
            .map_err(|faults| ConfigError::Faults { path: Some(path.to_path_buf()), faults })?;
        Ok((config, from))
    }

    pub(super) fn from_written(
        mut written: Written,
        overrides: &Overrides,
        around: &Surroundings<'_>,
    ) -> Result<Self, Vec<Fault>> {
        if let Some(listen) = &overrides.listen {
            written.override_with("server.listen", "--listen", listen.clone().into());
        }
        if let Some(socket) = &overrides.socket {
            // A shell completes relative paths; in a file they would depend on who starts us, and are refused.
            let absolute = std::path::absolute(socket).unwrap_or_else(|_| socket.clone());
            match absolute.to_str() {
                Some(text) => written.override_with("control.socket", "--socket", text.to_owned().into()),
                None => written.fault("control.socket", "`--socket` is not UTF-8".into()),
            }
        }
        sections::config(&mut written, around).ok_or_else(|| written.into_faults())
    }
}

fn read_file(path: &Path) -> Result<String, ConfigError> {
    let failed = |source| ConfigError::Read { path: path.to_path_buf(), source };
    let mut text = String::new();
    let read = File::open(path).map_err(failed)?.take(FILE_LIMIT + 1).read_to_string(&mut text);
    if read.map_err(failed)? as u64 > FILE_LIMIT {
        return Err(ConfigError::TooLong { path: path.to_path_buf() });
    }
    Ok(text)
}

/// One fault stands behind its file; several get a line each.
fn list(path: Option<&Path>, faults: &[Fault]) -> String {
    let head = match path {
        Some(path) => format!("`{}`", path.display()),
        None => "the config".into(),
    };
    match faults {
        [only] => format!("{head}: {only}"),
        many => many
            .iter()
            .fold(format!("{head} has {} faults:", many.len()), |all, fault| format!("{all}\n  {fault}")),
    }
}
