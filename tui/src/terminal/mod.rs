//! Takes the terminal and always gives it back: at the end, on a signal, when suspended, after a panic.

mod backend;
mod writer;

use std::{io, sync::Once, time::Duration};

use ratatui::layout::{Rect, Size};

use backend::Lean;
pub(crate) use writer::Writer;

/// The alternate screen, no cursor, pasted text told apart from keys.
const ENTER: &[u8] = b"\x1b[?1049h\x1b[?25l\x1b[?2004h\x1b[0m\x1b[2J";
/// All of that taken back, and a frame that may be half written closed.
const LEAVE: &[u8] = b"\x1b[?2026l\x1b[0m\x1b[?2004l\x1b[?25h\x1b[?1049l";
/// A terminal that takes no bytes must not keep us from leaving.
const LEAVE_LIMIT: Duration = Duration::from_millis(200);

/// The terminal, taken.
#[derive(Debug)]
pub(crate) struct Terminal {
    screen: ratatui::Terminal<Lean>,
    /// Everything that is written goes through here.
    pub(crate) writer: Writer,
    taken: bool,
    /// A continuation that our own stop will cause is still to be told.
    awaits_continue: bool,
}

impl Terminal {
    /// Takes the terminal.
    pub(crate) fn take() -> io::Result<Self> {
        restore_after_panic();
        crossterm::terminal::enable_raw_mode()?;
        let writer = Writer::start()?;
        writer.send(ENTER.to_vec());
        let screen = ratatui::Terminal::new(Lean::new(size())).unwrap_or_else(|never| match never {});
        Ok(Self { screen, writer, taken: true, awaits_continue: false })
    }

    /// Whether it is ours to draw on.
    pub(crate) fn is_taken(&self) -> bool {
        self.taken
    }

    /// Takes a size that the terminal told.
    pub(crate) fn resize(&mut self, size: Size) {
        self.screen.backend_mut().set_size(size);
    }

    /// Draws every cell anew with the next frame.
    pub(crate) fn repaint(&mut self) {
        let area = Rect::from((ratatui::layout::Position::ORIGIN, self.screen.backend().dimensions()));
        self.screen.resize(area).unwrap_or_else(|never| match never {});
    }

    /// Draws a frame. What did not change costs nothing.
    pub(crate) fn draw(&mut self, view: impl FnOnce(Rect, &mut ratatui::buffer::Buffer)) {
        let drawn = self.screen.draw(|frame| view(frame.area(), frame.buffer_mut()));
        drawn.map(|_| ()).unwrap_or_else(|never| match never {});
        let bytes = self.screen.backend_mut().frame();
        if !bytes.is_empty() {
            self.writer.send(bytes);
        }
    }

    /// Gives it back and stops this process until it is continued.
    pub(crate) fn suspend(&mut self) {
        self.give_back();
        // SIGTSTP has our handler, so the signal that nobody can handle is the one that stops.
        let stopped = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP);
        // Where it can't be sent, not stopping is all that is left.
        self.awaits_continue = stopped.is_ok();
        self.take_again();
    }

    /// Somebody continued this process. If it was us who stopped it, all is done already.
    pub(crate) fn continued(&mut self) -> bool {
        let ours = std::mem::take(&mut self.awaits_continue);
        if ours && self.taken { false } else { self.take_again() }
    }

    /// Takes it again after a stop, once this process is in the foreground: from the background it belongs
    /// to somebody else.
    pub(crate) fn take_again(&mut self) -> bool {
        if !in_foreground() || crossterm::terminal::enable_raw_mode().is_err() {
            return false;
        }
        self.taken = true;
        self.resize(size());
        self.writer.send(ENTER.to_vec());
        self.repaint();
        true
    }

    /// Gives it back for good.
    pub(crate) fn give_back(&mut self) {
        if self.taken {
            self.taken = false;
            self.writer.finish(LEAVE, LEAVE_LIMIT);
            // An ioctl; it fails only where there is no terminal any more.
            crossterm::terminal::disable_raw_mode().unwrap_or_default();
        }
    }

    /// Its size, as the system knows it.
    pub(crate) fn size(&self) -> Size {
        self.screen.backend().dimensions()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// Whether there is a terminal that can show a screen; if not, why.
pub(crate) fn fault() -> Option<&'static str> {
    use std::io::IsTerminal as _;
    if !io::stdout().is_terminal() {
        return Some("standard output is not a terminal");
    }
    let name = std::env::var("TERM").unwrap_or_default();
    (name == "dumb").then_some("this terminal (TERM) can't show a screen")
}

fn size() -> Size {
    match rustix::termios::tcgetwinsize(rustix::stdio::stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => Size::new(size.ws_col, size.ws_row),
        _ => Size::new(80, 24),
    }
}

fn in_foreground() -> bool {
    match rustix::termios::tcgetpgrp(rustix::stdio::stdout()) {
        Ok(group) => group == rustix::process::getpgrp(),
        // Not our controlling terminal: nobody else can have it in the foreground.
        Err(_) => true,
    }
}

/// The message of a panic must be readable, and the shell usable after it.
fn restore_after_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            crossterm::terminal::disable_raw_mode().unwrap_or_default();
            // Nothing can be done about a terminal that is gone.
            writer::write_all(LEAVE).unwrap_or_default();
            before(panic);
        }));
    });
}
