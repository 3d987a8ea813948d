//! A Unix socket by name: who may bind it, who may connect, and that the name is gone afterwards.
//!
//! A lock beside the socket decides whose name it is. To connect and see whether somebody answers would
//! not do: two that start at once both find nobody, and a busy server with a full queue looks dead.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, FlockOperation, Gid, Mode, OFlags, chmodat, chownat, fchmod, flock};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

/// How many may wait to be accepted.
const BACKLOG: i32 = 128;

/// What fits into the kernel's address with the zero behind it.
const LONGEST_PATH: usize = 107;

/// How often it is looked whether the name is still there: cleaners of temporary directories remove
/// sockets, and a console would find no engine.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// A socket that listens under a name of its own. Dropped, it takes the name away, unless the name has come
/// to mean something else, and then lets go of the lock.
#[derive(Debug)]
pub struct Socket {
    bound: Bound,
    look: Interval,
    group: Option<u32>,
    lock: Lock,
}

/// The right to the name, as long as it lives.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    file: File,
}

#[derive(Debug)]
struct Bound {
    path: PathBuf,
    listener: UnixListener,
    inode: (u64, u64),
}

/// Why the socket could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The directory was missing and could not be made.
    #[error("could not make the directory `{path}`")]
    Directory {
        /// The socket's directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The kernel takes 107 bytes.
    #[error("`{0}` is too long for a socket: at most {LONGEST_PATH} bytes")]
    TooLong(PathBuf),
    /// The lock file could not be opened or locked.
    #[error("could not take the lock `{path}`")]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another engine holds the lock.
    #[error("another engine is listening on `{0}`")]
    InUse(PathBuf),
    /// Something that is not a socket of ours has the name; it is left as it is.
    #[error("`{path}` {what}: not touching it")]
    InTheWay {
        /// The name.
        path: PathBuf,
        /// What it is.
        what: Foreign,
    },
    /// The socket could not be made, named or given to its group.
    #[error("could not {step} `{path}`")]
    Bind {
        /// What was tried.
        step: &'static str,
        /// The socket.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// What may be in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Foreign {
    /// Whoever could make it could make it point anywhere.
    #[error("is a symbolic link")]
    SymbolicLink,
    /// A file, a directory, a FIFO, a device.
    #[error("is not a socket")]
    NotASocket,
    /// Not made by an engine of ours.
    #[error("belongs to user {0}")]
    OtherOwner(u32),
}

impl Socket {
    /// Binds `path` for this user alone, or also for the group with this number. Missing directories are
    /// made, for the same users. A socket that a dead engine has left is replaced.
    ///
    /// Must be called within a runtime.
    pub fn bind(path: &Path, group: Option<u32>) -> Result<Self, SocketError> {
        if path.as_os_str().as_bytes().len() > LONGEST_PATH {
            return Err(SocketError::TooLong(path.to_owned()));
        }
        make_directory(path, group)?;
        let lock = Lock::take(path)?;
        let bound = Bound::new(path, group)?;
        let mut look = interval_at(Instant::now() + LOOK_EVERY, LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self { bound, look, group, lock })
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.bound.path
    }

    /// The next connection. Cancel safe. It also brings back a name that somebody has removed.
    pub async fn accept(&mut self) -> io::Result<UnixStream> {
        loop {
            tokio::select! {
                accepted = self.bound.listener.accept() => return accepted.map(|(stream, _)| stream),
                _ = self.look.tick() => self.look_after_name(),
            }
        }
    }

    /// Takes the name away, and keeps the right to it.
    pub fn close(self) -> Lock {
        self.lock
    }

    fn look_after_name(&mut self) {
        if self.bound.has_its_name() {
            return;
        }
        let path = self.bound.path.clone();
        match self.bind_again(&path) {
            Ok(()) => tracing::warn!(path = %path.display(), "the socket's name was gone, bound it again"),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(path = %path.display(), error, "the socket's name is gone");
            }
        }
    }

    fn bind_again(&mut self, path: &Path) -> Result<(), SocketError> {
        make_directory(path, self.group)?;
        if !self.lock.is_in_place() {
            self.lock = Lock::take(path)?;
        }
        self.bound = Bound::new(path, self.group)?;
        Ok(())
    }
}

impl Lock {
    /// The lock file lies beside the socket and is never removed: whoever waits for a file that another
    /// has unlinked locks nothing.
    fn take(socket: &Path) -> Result<Self, SocketError> {
        let path = socket.with_extension("lock");
        let failed = |source| SocketError::Lock { path: path.clone(), source };
        let in_the_way = |what| SocketError::InTheWay { path: path.clone(), what };
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(i32::try_from(flags.bits()).expect("these flags are small"))
            .open(&path)
            .map_err(failed)?;
        let owner = file.metadata().map_err(failed)?.uid();
        if owner != us() {
            return Err(in_the_way(Foreign::OtherOwner(owner)));
        }
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { path, file }),
            Err(Errno::WOULDBLOCK) => Err(SocketError::InUse(socket.to_owned())),
            Err(errno) => Err(failed(errno.into())),
        }
    }

    /// Whether a second engine would find the file that we have locked.
    fn is_in_place(&self) -> bool {
        match (fs::symlink_metadata(&self.path), self.file.metadata()) {
            (Ok(found), Ok(ours)) => identity(&found) == identity(&ours),
            _ => false,
        }
    }
}

impl Bound {
    /// Only whoever holds the lock may call this.
    fn new(path: &Path, group: Option<u32>) -> Result<Self, SocketError> {
        clear_name(path)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .map_err(cannot("make a socket for", path))?;
        // The name gets its mode from here: there is no moment in which others could connect, and no need
        // to change the umask of the whole process.
        fchmod(&socket, Mode::from_raw_mode(0o600)).map_err(cannot("protect", path))?;
        let address = SocketAddrUnix::new(path).map_err(cannot("name", path))?;
        bind(&socket, &address).map_err(cannot("bind", path))?;
        prepare(path, group, socket).inspect_err(|_| {
            // We have just made it, and nobody can use it.
            fs::remove_file(path).ok();
        })
    }

    fn has_its_name(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|found| identity(&found) == self.inode)
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        if self.has_its_name() {
            // Without the name nobody is worse off than with it.
            fs::remove_file(&self.path).ok();
        }
    }
}

fn make_directory(socket: &Path, group: Option<u32>) -> Result<(), SocketError> {
    let Some(directory) = socket.parent().filter(|directory| !directory.as_os_str().is_empty()) else {
        return Ok(());
    };
    if directory.is_dir() {
        return Ok(());
    }
    let failed = |source| SocketError::Directory { path: directory.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
    if let Some(group) = group {
        give(directory, group, 0o750).map_err(|errno| failed(errno.into()))?;
    }
    Ok(())
}

/// Takes away what a dead engine of ours has left under the name, and nothing else.
fn clear_name(path: &Path) -> Result<(), SocketError> {
    let in_the_way = |what| Err(SocketError::InTheWay { path: path.to_owned(), what });
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(cannot("look at", path)(error)),
    };
    if found.file_type().is_symlink() {
        return in_the_way(Foreign::SymbolicLink);
    }
    if !found.file_type().is_socket() {
        return in_the_way(Foreign::NotASocket);
    }
    if found.uid() != us() {
        return in_the_way(Foreign::OtherOwner(found.uid()));
    }
    fs::remove_file(path).map_err(cannot("clear", path))
}

/// What is done between the name and the first connection.
fn prepare(path: &Path, group: Option<u32>, socket: OwnedFd) -> Result<Bound, SocketError> {
    let inode = fs::symlink_metadata(path).map(|found| identity(&found)).map_err(cannot("find", path))?;
    listen(&socket, BACKLOG).map_err(cannot("listen on", path))?;
    if let Some(group) = group {
        give(path, group, 0o660).map_err(cannot("give to its group", path))?;
    }
    let listener = UnixListener::from_std(socket.into()).map_err(cannot("watch", path))?;
    Ok(Bound { path: path.to_owned(), listener, inode })
}

/// The group first: with the wider mode first, the old group could come in for a moment.
fn give(path: &Path, group: u32, mode: u32) -> Result<(), Errno> {
    chownat(CWD, path, None, Some(Gid::from_raw(group)), AtFlags::SYMLINK_NOFOLLOW)?;
    chmodat(CWD, path, Mode::from_raw_mode(mode), AtFlags::empty())
}

fn cannot<E: Into<io::Error>>(step: &'static str, path: &Path) -> impl FnOnce(E) -> SocketError {
    move |error| SocketError::Bind { step, path: path.to_owned(), source: error.into() }
}

fn identity(found: &fs::Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

fn us() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;
    use tokio::time::timeout;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    fn place() -> (TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/control.sock");
        (directory, path)
    }

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().mode() & 0o7777
    }

    fn why_not(path: &Path) -> Foreign {
        match Socket::bind(path, None) {
            Err(SocketError::InTheWay { what, .. }) => what,
            other => panic!("expected something in the way, got {other:?}"),
        }
    }

    #[tokio::test]
    async fn only_this_user_may_connect_without_a_group() {
        let (_directory, path) = place();
        let mut socket = Socket::bind(&path, None).unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        assert_eq!(mode(&path.with_file_name("control.lock")), 0o600);

        let (client, accepted) = tokio::join!(UnixStream::connect(&path), socket.accept());
        client.unwrap();
        assert_eq!(accepted.unwrap().peer_cred().unwrap().uid(), us());
    }

    #[tokio::test]
    async fn a_group_may_connect_too() {
        let (_directory, path) = place();
        let group = rustix::process::getegid().as_raw();
        let _socket = Socket::bind(&path, Some(group)).unwrap();
        assert_eq!(mode(&path), 0o660);
        assert_eq!(mode(path.parent().unwrap()), 0o750);
        assert_eq!(fs::metadata(&path).unwrap().gid(), group);
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_live_one_refused() {
        let (_directory, path) = place();
        fs::create_dir(path.parent().unwrap()).unwrap();
        // What an engine leaves that was killed.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());

        let socket = Socket::bind(&path, None).unwrap();
        assert!(socket.bound.has_its_name());
        assert!(matches!(Socket::bind(&path, None), Err(SocketError::InUse(_))));
        assert!(socket.bound.has_its_name(), "the second engine touched the first one's socket");

        drop(socket);
        assert!(!path.exists());
        Socket::bind(&path, None).unwrap();
    }

    #[tokio::test]
    async fn what_is_not_ours_is_left_as_it_is() {
        let (directory, path) = place();
        fs::create_dir(path.parent().unwrap()).unwrap();

        let target = directory.path().join("precious");
        fs::write(&target, "precious").unwrap();
        symlink(&target, &path).unwrap();
        assert_eq!(why_not(&path), Foreign::SymbolicLink);
        assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
        fs::remove_file(&path).unwrap();

        fs::write(&path, "a file").unwrap();
        assert_eq!(why_not(&path), Foreign::NotASocket);
        assert_eq!(fs::read_to_string(&path).unwrap(), "a file");
        fs::remove_file(&path).unwrap();

        fs::create_dir(&path).unwrap();
        assert_eq!(why_not(&path), Foreign::NotASocket);
        fs::remove_dir(&path).unwrap();

        // Only root can make what belongs to somebody else.
        if rustix::process::geteuid().is_root() {
            drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
            std::os::unix::fs::chown(&path, Some(12345), None).unwrap();
            assert_eq!(why_not(&path), Foreign::OtherOwner(12345));
            assert!(path.exists());
        }
    }

    #[tokio::test]
    async fn a_lock_that_is_a_symbolic_link_is_refused() {
        let (directory, path) = place();
        fs::create_dir(path.parent().unwrap()).unwrap();
        let target = directory.path().join("precious");
        symlink(&target, path.with_extension("lock")).unwrap();
        assert!(matches!(Socket::bind(&path, None), Err(SocketError::Lock { .. })));
        assert!(!target.exists());
    }

    #[tokio::test]
    async fn a_path_that_does_not_fit_is_refused_by_length() {
        let long = PathBuf::from("/tmp").join("x".repeat(LONGEST_PATH));
        assert!(matches!(Socket::bind(&long, None), Err(SocketError::TooLong(_))));
    }

    #[tokio::test]
    async fn only_our_own_name_is_taken_away_at_the_end() {
        let (_directory, path) = place();
        let socket = Socket::bind(&path, None).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "somebody else's").unwrap();
        drop(socket);
        assert_eq!(fs::read_to_string(&path).unwrap(), "somebody else's");
    }

    #[tokio::test]
    async fn a_closed_socket_has_no_name_and_keeps_its_lock() {
        let (_directory, path) = place();
        let lock = Socket::bind(&path, None).unwrap().close();
        assert!(!path.exists());
        assert!(matches!(Socket::bind(&path, None), Err(SocketError::InUse(_))));
        drop(lock);
        Socket::bind(&path, None).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_was_removed_comes_back_with_its_lock() {
        let (_directory, path) = place();
        let mut socket = Socket::bind(&path, None).unwrap();
        fs::remove_dir_all(path.parent().unwrap()).unwrap();

        let client = async {
            while !path.exists() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            UnixStream::connect(&path).await.unwrap()
        };
        let both = async { tokio::join!(socket.accept(), client) };
        timeout(LIMIT, both).await.unwrap().0.unwrap();
        assert!(matches!(Socket::bind(&path, None), Err(SocketError::InUse(_))));
    }
}
