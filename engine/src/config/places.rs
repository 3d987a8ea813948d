//! Where things are when the config does not say: it depends on who we are and what the service manager
//! and the desktop have set.

use std::path::{Path, PathBuf};

/// What a config depends on besides its file, as values, so that tests own it.
pub struct Surroundings<'a> {
    /// The environment.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// Whether we are root.
    pub is_root: bool,
    /// The config file of the system: `/etc/sluice/sluice.toml`.
    pub system_file: PathBuf,
}

impl<'a> Surroundings<'a> {
    /// Those of this process, with the given view of its environment.
    pub fn of_process(env: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            env,
            is_root: rustix::process::geteuid().is_root(),
            system_file: "/etc/sluice/sluice.toml".into(),
        }
    }

    /// A variable that is set to something.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        (self.env)(name).filter(|value| !value.is_empty())
    }

    /// The directory of the segments.
    pub(super) fn cache_dir(&self) -> Result<PathBuf, String> {
        self.directory("CACHE_DIRECTORY", "/var/cache/sluice", "XDG_CACHE_HOME", ".cache")
    }

    /// The control socket.
    pub(super) fn socket(&self) -> Result<PathBuf, String> {
        if let Some(directory) = self.service_directory("RUNTIME_DIRECTORY") {
            return Ok(directory.join("control.sock"));
        }
        if self.is_root {
            return Ok("/run/sluice/control.sock".into());
        }
        // Without a runtime directory of ours there is no place that others can't write to: `/tmp` is none.
        let runtime = self.absolute("XDG_RUNTIME_DIR").ok_or(
            "is not set, and neither is `$RUNTIME_DIRECTORY` nor `$XDG_RUNTIME_DIR`; set it, or start with `--socket`",
        )?;
        Ok(runtime.join("sluice/control.sock"))
    }

    fn directory(&self, service: &str, root: &str, xdg: &str, home: &str) -> Result<PathBuf, String> {
        if let Some(directory) = self.service_directory(service) {
            return Ok(directory);
        }
        if self.is_root {
            return Ok(root.into());
        }
        self.absolute(xdg)
            .or_else(|| Some(self.absolute("HOME")?.join(home)))
            .map(|base| base.join("sluice"))
            .ok_or_else(|| format!("is not set, and neither is `${service}`, `${xdg}` nor `$HOME`; set it"))
    }

    /// systemd sets a list, separated by colons, where the unit names several.
    fn service_directory(&self, name: &str) -> Option<PathBuf> {
        let value = self.variable(name)?;
        let first = Path::new(value.split(':').next()?);
        first.is_absolute().then(|| first.to_path_buf())
    }

    /// The specification of these variables says that a relative path is to be ignored.
    fn absolute(&self, name: &str) -> Option<PathBuf> {
        self.variable(name).map(PathBuf::from).filter(|path| path.is_absolute())
    }
}
