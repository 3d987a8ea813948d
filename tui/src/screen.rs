//! The loop: keys, signals, news and time go in as messages, effects and frames come out.
//!
//! It never waits for the network or for the terminal. It draws only when something changed: at once after a
//! key, else with the next frame.

use std::{
    future::pending,
    io,
    time::{Duration, Instant},
};

use crossterm::event::{Event as Input, EventStream};
use futures_util::{FutureExt as _, StreamExt as _};
use ratatui::layout::Size;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    time::{MissedTickBehavior, interval, sleep_until},
};

use crate::{
    app::{App, Redraw, Tone},
    client::{Client, Feeds},
    event::{Effect, EscapeGuard, Msg, Now},
    terminal::Terminal,
    update::update,
    view::view,
};

/// Data is drawn at most this often.
const FRAME: Duration = Duration::from_millis(100);
/// The same over a link that others pay for.
const FRAME_OVER_SSH: Duration = Duration::from_millis(250);
/// How long an `Esc` may be the beginning of a key.
const ESCAPE: Duration = Duration::from_millis(40);
const ESCAPE_OVER_SSH: Duration = Duration::from_millis(100);
/// Messages that may wait for the loop.
const MESSAGES: usize = 1024;
/// Keys and messages that are taken in before the screen is drawn.
const AT_A_TIME: usize = 256;

/// Shows the console until the operator leaves or the terminal goes away.
pub(crate) async fn run(client: Client, mut app: App) -> io::Result<()> {
    let ssh = std::env::var_os("SSH_CONNECTION").is_some();
    let (frame, patience) = if ssh { (FRAME_OVER_SSH, ESCAPE_OVER_SSH) } else { (FRAME, ESCAPE) };
    let mut signals = Signals::listen()?;
    let mut terminal = Terminal::take()?;
    let mut input = EventStream::new();
    let (messages, mut news) = mpsc::channel(MESSAGES);
    if let Some(warning) = client.warning.clone() {
        app.say(Tone::Bad, warning);
    }
    let mut feeds = Feeds::start(client, messages);
    let mut clock = interval(Duration::from_secs(1));
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut guard = EscapeGuard::default();
    let mut next_frame = Instant::now();
    update(&mut app, Msg::Resize(terminal.size()));

    loop {
        let dirty = app.redraw > Redraw::No && terminal.is_taken();
        let idle = terminal.writer.is_idle();
        let draw_at = (dirty && idle).then_some(next_frame);
        let deadline = [draw_at, guard.deadline(patience)].into_iter().flatten().min();
        let mut batch = Vec::new();
        let mut woken = Woken::Nothing;
        tokio::select! { biased;
            signal = signals.next() => woken = Woken::Signal(signal),
            event = input.next() => match event {
                Some(Ok(event)) => {
                    take_input(event, &mut guard, &mut batch);
                    // What is ready belongs to the same frame.
                    while let Some(Some(Ok(event))) = input.next().now_or_never() {
                        take_input(event, &mut guard, &mut batch);
                        if batch.len() >= AT_A_TIME { break }
                    }
                }
                // Nobody can type any more.
                Some(Err(_)) | None => return Ok(()),
            },
            Some(msg) = news.recv() => {
                batch.push(msg);
                while batch.len() < AT_A_TIME && let Ok(msg) = news.try_recv() {
                    batch.push(msg);
                }
            },
            gone = terminal.writer.idle(), if dirty && !idle => if gone.is_err() { return Ok(()) },
            () = until(deadline) => {}
            _ = clock.tick() => {}
        }
        let now = Now::read();
        if guard.deadline(patience).is_some_and(|at| at <= now.instant) {
            batch.extend(guard.expire().into_iter().map(Msg::Key));
        }
        fold_resizes(&mut batch);
        let mut quit = false;
        match woken {
            Woken::Nothing => {}
            Woken::Signal(Told::Leave) => return Ok(()),
            Woken::Signal(Told::Suspend) => suspend(&mut terminal, &mut app),
            Woken::Signal(Told::Continued) => {
                if terminal.continued() {
                    settle_size(&terminal, &mut app);
                }
            }
        }
        // Continued in the background: look whether it is ours by now.
        if !terminal.is_taken() && terminal.take_again() {
            settle_size(&terminal, &mut app);
        }
        for msg in std::iter::once(Msg::Clock(now)).chain(batch) {
            if let Msg::Resize(size) = msg {
                terminal.resize(size);
            }
            match update(&mut app, msg) {
                Some(Effect::Quit) => quit = true,
                Some(Effect::Suspend) => suspend(&mut terminal, &mut app),
                Some(Effect::Repaint) => terminal.repaint(),
                Some(Effect::RetryNow) => feeds.retry_now(),
                Some(Effect::Act(orders)) => feeds.act(orders),
                Some(Effect::OpenLog { ticket, id }) => feeds.open_log(ticket, id),
                Some(Effect::CloseLog) => feeds.close_log(),
                Some(Effect::AskDetail { ticket, id }) => feeds.ask_detail(ticket, id),
                None => {}
            }
        }
        if quit {
            return Ok(());
        }
        let due = app.redraw == Redraw::Now || app.redraw == Redraw::Soon && now.instant >= next_frame;
        if due && terminal.is_taken() && terminal.writer.is_idle() {
            terminal.draw(|area, buf| view(&app, area, buf));
            app.redraw = Redraw::No;
            next_frame = now.instant + frame;
        }
    }
}

enum Woken {
    Nothing,
    Signal(Told),
}

/// What a signal tells.
enum Told {
    Leave,
    Suspend,
    Continued,
}

struct Signals {
    terminate: Signal,
    hang_up: Signal,
    interrupt: Signal,
    quit: Signal,
    stop: Signal,
    resume: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        let raw = |which: rustix::process::Signal| SignalKind::from_raw(which.as_raw());
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            // A terminal that hung up must be left at once: its reader would spin on it for ever.
            hang_up: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            stop: signal(raw(rustix::process::Signal::TSTP))?,
            resume: signal(raw(rustix::process::Signal::CONT))?,
        })
    }

    async fn next(&mut self) -> Told {
        tokio::select! { biased;
            _ = self.hang_up.recv() => Told::Leave,
            _ = self.terminate.recv() => Told::Leave,
            _ = self.interrupt.recv() => Told::Leave,
            _ = self.quit.recv() => Told::Leave,
            _ = self.stop.recv() => Told::Suspend,
            _ = self.resume.recv() => Told::Continued,
        }
    }
}

fn take_input(event: Input, guard: &mut EscapeGuard, batch: &mut Vec<Msg>) {
    match event {
        Input::Key(key) => batch.extend(guard.press(key, Instant::now()).into_iter().map(Msg::Key)),
        Input::Paste(text) => batch.push(Msg::Paste(text)),
        Input::Resize(width, height) => batch.push(Msg::Resize(Size::new(width, height))),
        Input::FocusGained | Input::FocusLost | Input::Mouse(_) => {}
    }
}

/// While a window is dragged many sizes come at once, and only the last is true.
fn fold_resizes(batch: &mut Vec<Msg>) {
    let last = batch.iter().rposition(|msg| matches!(msg, Msg::Resize(_)));
    let mut at = 0;
    batch.retain(|msg| {
        at += 1;
        !matches!(msg, Msg::Resize(_)) || Some(at - 1) == last
    });
}

fn suspend(terminal: &mut Terminal, app: &mut App) {
    terminal.suspend();
    settle_size(terminal, app);
}

fn settle_size(terminal: &Terminal, app: &mut App) {
    // It asks for a repaint, which taking the terminal again has done already.
    update(app, Msg::Resize(terminal.size()));
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => pending().await,
    }
}
