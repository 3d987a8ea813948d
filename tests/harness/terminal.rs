//! A terminal for the console: a real pseudo-terminal, and a screen that understands what is written to it.

#![expect(clippy::print_stderr, reason = "a failed test shows what it saw")]

use std::io::{Read as _, Write};
use std::num::NonZero;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use rustix::process::{Pid, Signal, kill_process};

use crate::built;
use crate::wait::wait_for;

/// Ends a broken test; no healthy machine comes near it.
const LIMIT: Duration = Duration::from_secs(30);

/// A program on a terminal of its own.
pub struct Terminal {
    master: Box<dyn MasterPty + Send>,
    keyboard: Box<dyn Write + Send>,
    child: Box<dyn Child + Send + Sync>,
    screen: Arc<Mutex<vt100::Parser>>,
    reader: Option<JoinHandle<()>>,
    /// The modes of the terminal's line before the program changed them.
    before: rustix::termios::Termios,
    /// Held open, since the kernel forgets the modes of a line that nobody holds.
    _line: Box<dyn portable_pty::SlavePty + Send>,
}

impl Terminal {
    /// The console on `socket`, on a screen of so many columns and rows.
    pub fn console(socket: &Path, columns: u16, rows: u16) -> Self {
        let mut command = CommandBuilder::new(built::program("sluice"));
        command.arg("--socket");
        command.arg(socket);
        Self::run(command, columns, rows)
    }

    /// Any program.
    pub fn run(mut command: CommandBuilder, columns: u16, rows: u16) -> Self {
        command.env("TERM", "xterm-256color");
        for variable in ["NO_COLOR", "SLUICE_SOCKET", "SSH_CONNECTION"] {
            command.env_remove(variable);
        }
        let pair = native_pty_system().openpty(size(columns, rows)).expect("there is a free pseudo-terminal");
        let before = modes(pair.master.as_ref());
        let child = pair.slave.spawn_command(command).expect("a built program can be started");
        let screen = Arc::new(Mutex::new(vt100::Parser::new(cells(rows), cells(columns), 0)));
        let mut output = pair.master.try_clone_reader().expect("a terminal can be read");
        let shown = screen.clone();
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 8192];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                shown.lock().expect("nobody panics while holding the screen").process(&bytes[..count]);
            }
        });
        let keyboard = pair.master.take_writer().expect("a terminal can be written to");
        Self { master: pair.master, keyboard, child, screen, reader: Some(reader), before, _line: pair.slave }
    }

    /// Presses keys, as the bytes that a terminal sends for them.
    pub fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("a program on a terminal takes keys");
        self.keyboard.flush().expect("a program on a terminal takes keys");
    }

    /// Presses one key after the other, with time between them, as a hand does. Some programs read an escape
    /// byte that is followed at once by another as one key.
    pub async fn type_slowly(&mut self, keys: &[&str]) {
        for key in keys {
            self.press(key);
            tokio::time::sleep(Duration::from_millis(80)).await;
        }
    }

    /// What the screen shows, row by row.
    pub fn text(&self) -> String {
        self.screen.lock().expect("nobody panics while holding the screen").screen().contents()
    }

    /// Whether the program has taken the whole screen, as an editor does.
    pub fn is_alternate(&self) -> bool {
        self.screen.lock().expect("nobody panics while holding the screen").screen().alternate_screen()
    }

    /// Whether the cursor is hidden.
    pub fn hides_cursor(&self) -> bool {
        self.screen.lock().expect("nobody panics while holding the screen").screen().hide_cursor()
    }

    /// Waits until the screen shows what `wanted` asks for.
    ///
    /// # Panics
    ///
    /// When it doesn't, with the screen as it is.
    pub async fn until(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let found = tokio::time::timeout(LIMIT, async {
            loop {
                let text = self.text();
                if wanted(&text) {
                    return text;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        found.unwrap_or_else(|_| {
            panic!("waited {LIMIT:?} in vain for {what} on this screen:\n{}", self.text())
        })
    }

    /// Waits until the screen shows `text`.
    pub async fn until_shows(&self, text: &str) -> String {
        self.until(&format!("{text:?}"), |screen| screen.contains(text)).await
    }

    /// Changes the size, as dragging a window's corner does.
    pub fn resize(&self, columns: u16, rows: u16) {
        self.screen
            .lock()
            .expect("nobody panics while holding the screen")
            .screen_mut()
            .set_size(cells(rows), cells(columns));
        self.master.resize(size(columns, rows)).expect("a terminal can be resized");
    }

    /// Sends the program a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = self.child.process_id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        kill_process(pid.expect("the program runs"), signal).expect("the program is ours to signal");
    }

    /// Waits until the program has ended, and answers its exit code.
    pub async fn ended(&mut self) -> u32 {
        let child = Mutex::new(&mut self.child);
        wait_for(LIMIT, "the program to end", || async {
            let mut child = child.lock().expect("nobody panics here");
            child.try_wait().expect("a child can be asked").map(|status| status.exit_code())
        })
        .await
    }

    /// Asserts that the terminal is as it was: its line modes, the main screen, a visible cursor.
    pub async fn assert_restored(&self) {
        wait_for(LIMIT, "the terminal to be given back", || async {
            let now = modes(self.master.as_ref());
            let line =
                now.local_modes == self.before.local_modes && now.input_modes == self.before.input_modes;
            (line && !self.is_alternate() && !self.hides_cursor()).then_some(())
        })
        .await;
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended already.
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
        // The reader ends when nobody holds the other end any more; this value does until it is gone, so the
        // thread is let go of rather than waited for.
        drop(self.reader.take());
        if std::thread::panicking() {
            eprintln!("--- the screen ---\n{}", self.text());
        }
    }
}

fn cells(count: u16) -> NonZero<u16> {
    NonZero::new(count).expect("a screen has rows and columns")
}

fn size(columns: u16, rows: u16) -> PtySize {
    PtySize { rows, cols: columns, pixel_width: 0, pixel_height: 0 }
}

/// The modes of the terminal's line.
fn modes(master: &(dyn MasterPty + Send)) -> rustix::termios::Termios {
    let path = master.tty_name().expect("a pseudo-terminal has a name");
    let tty = std::fs::File::open(path).expect("a pseudo-terminal can be opened by its name");
    rustix::termios::tcgetattr(tty).expect("a terminal has modes")
}
