//! Children as the kernel sees them, started through the real launcher.

#![expect(clippy::unwrap_used, reason = "all of this file is a test, its helpers too")]

use std::collections::HashSet;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sluice_engine::process::{
    CaptureError, Captured, Child, Exit, Launcher, Order, Pipe, Process, SpawnError, capture,
};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Far more than anything here takes, on any machine.
const LIMIT: Duration = Duration::from_secs(60);

fn launcher() -> Launcher {
    Launcher::start(PathBuf::from(env!("CARGO_BIN_EXE_sluiced"))).unwrap()
}

fn order(program: impl Into<PathBuf>, args: &[&str]) -> Order {
    Order {
        program: program.into(),
        args: args.iter().map(|&arg| arg.to_owned()).collect(),
        outputs: Vec::new(),
        stdout: None,
        label: "test".to_owned(),
    }
}

/// A shell with `outputs` pipes, which it knows as `$1`, `$2`, … in the form `pipe:N`.
fn shell(script: &str, outputs: &[Pipe]) -> Order {
    let mut order = order("sh", &["-c", script, "sh"]);
    order.args.extend((0..outputs.len()).map(|output| format!("pipe:@out{output}@")));
    order.outputs = outputs.to_vec();
    order
}

/// Like [`shell`], with its first pipe as standard output.
fn talking_shell(script: &str) -> Order {
    Order { stdout: Some(0), ..shell(script, &[Pipe::Small]) }
}

async fn within_limit<T>(what: impl Future<Output = T>) -> T {
    timeout(LIMIT, what).await.expect("not done in time")
}

async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < LIMIT, "never: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

async fn all_of(pipe: &mut Receiver) -> String {
    let mut text = String::new();
    within_limit(pipe.read_to_string(&mut text)).await.unwrap();
    text
}

async fn line_of(pipe: &mut Receiver) -> String {
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        line.push(within_limit(pipe.read_u8()).await.unwrap());
    }
    String::from_utf8(line).unwrap().trim().to_owned()
}

async fn end_of(process: &mut Process) -> Exit {
    within_limit(process.exited()).await
}

/// No such process, or only what is left for its parent to see.
fn is_gone(pid: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return true };
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']))
}

fn is_reaped(pid: u32) -> bool {
    !Path::new(&format!("/proc/{pid}")).exists()
}

/// What a process has open, as `(number, target)`.
fn descriptors(pid: u32) -> Vec<(u32, String)> {
    let mut found: Vec<_> = fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            let number = entry.file_name().into_string().unwrap().parse().unwrap();
            (number, fs::read_link(entry.path()).unwrap().into_os_string().into_string().unwrap())
        })
        .collect();
    found.sort_unstable();
    found
}

fn name_of(pipe: &Receiver) -> String {
    format!("pipe:[{}]", rustix::fs::fstat(pipe.as_fd()).unwrap().st_ino)
}

#[tokio::test]
async fn every_pipe_arrives_and_ends_with_the_child() {
    let script = r#"echo one >/dev/fd/${1#pipe:}; echo two >/dev/fd/${2#pipe:}; echo three >&2; exit 7"#;
    let mut child = launcher().spawn(shell(script, &[Pipe::Media, Pipe::Small])).await.unwrap();
    let [first, second] = &mut child.outputs[..] else { panic!("two pipes were ordered") };
    assert_eq!(all_of(first).await, "one\n");
    assert_eq!(all_of(second).await, "two\n");
    assert_eq!(all_of(&mut child.stderr).await, "three\n");
    assert_eq!(end_of(&mut child.process).await, Exit::Code(7));
}

#[tokio::test]
async fn an_output_can_be_standard_output_and_standard_input_is_empty() {
    let mut child = launcher().spawn(talking_shell("cat; echo done")).await.unwrap();
    assert_eq!(all_of(&mut child.outputs[0]).await, "done\n");
    assert_eq!(end_of(&mut child.process).await, Exit::Code(0));
}

#[tokio::test]
async fn a_child_is_armed_before_it_runs() {
    let script = "ulimit -c; ulimit -n; ulimit -f; cat /proc/self/oom_score_adj; \
                  grep NoNewPrivs /proc/self/status; nice; echo $SLUICE_RUN; echo $$; \
                  cut -d' ' -f5,6 /proc/$$/stat; kill -STOP $$";
    let before: i32 = rustix::process::getpriority_process(None).unwrap();
    let mut child = launcher().spawn(talking_shell(script)).await.unwrap();
    let out = &mut child.outputs[0];
    assert_eq!(line_of(out).await, "0", "core dumps");
    assert_eq!(line_of(out).await, "256", "descriptors");
    assert_eq!(line_of(out).await, "0", "file size");
    assert_eq!(line_of(out).await, "500", "for the OOM killer");
    assert_eq!(line_of(out).await, "NoNewPrivs:\t1");
    assert_eq!(line_of(out).await, (before + 5).min(19).to_string(), "niceness");
    assert_eq!(line_of(out).await, "test", "label");
    assert_eq!(line_of(out).await, child.pid.to_string());
    assert_eq!(line_of(out).await, format!("{0} {0}", child.pid), "group and session");
    child.process.kill();
    assert_eq!(end_of(&mut child.process).await, Exit::Signal(9));
}

#[tokio::test]
async fn a_child_cannot_write_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    let script = format!("echo text >{}", path.display());
    let mut child = launcher().spawn(shell(&script, &[])).await.unwrap();
    assert_ne!(end_of(&mut child.process).await, Exit::Code(0));
    assert_eq!(fs::read_to_string(&path).unwrap_or_default(), "");
}

#[tokio::test]
async fn no_child_holds_a_foreign_descriptor_while_many_start_at_once() {
    const CHILDREN: usize = 60;
    let launcher = launcher();
    let mut starts = JoinSet::new();
    for _ in 0..CHILDREN {
        let launcher = launcher.clone();
        starts.spawn(async move {
            launcher.spawn(order_with(order("sleep", &["600"]), &[Pipe::Media, Pipe::Small])).await
        });
    }
    let children: Vec<Child> =
        within_limit(starts.join_all()).await.into_iter().map(Result::unwrap).collect();

    // Whoever started this test may have left descriptors open for all its descendants.
    let inherited: HashSet<String> =
        descriptors(rustix::process::getppid().unwrap().as_raw_pid().cast_unsigned())
            .into_iter()
            .map(|(_, target)| target)
            .collect();
    let mut seen = HashSet::new();
    for child in &children {
        let mut found = descriptors(child.pid);
        let media: HashSet<String> = found.split_off(3).into_iter().map(|(_, target)| target).collect();
        let nothing = "/dev/null".to_owned();
        assert_eq!(found, [(0, nothing.clone()), (1, nothing), (2, name_of(&child.stderr))]);

        let outputs: HashSet<String> = child.outputs.iter().map(name_of).collect();
        assert!(media.is_superset(&outputs));
        let foreign: Vec<_> =
            media.difference(&outputs).filter(|target| !inherited.contains(*target)).collect();
        assert!(foreign.is_empty(), "{foreign:?}");
        assert!(outputs.into_iter().all(|pipe| seen.insert(pipe)), "two children share a pipe");
    }
}

fn order_with(order: Order, outputs: &[Pipe]) -> Order {
    Order { outputs: outputs.to_vec(), ..order }
}

#[tokio::test]
async fn pipes_have_the_size_they_were_ordered_with() {
    let order = order_with(order("sleep", &["600"]), &[Pipe::Media, Pipe::Small]);
    let child = launcher().spawn(order).await.unwrap();
    let size = |pipe: &Receiver| rustix::pipe::fcntl_getpipe_size(pipe).unwrap();
    assert!(size(&child.outputs[0]) <= 256 * 1024);
    assert_eq!(size(&child.outputs[1]), 4096);
    assert_eq!(size(&child.stderr), 4096);
}

#[tokio::test]
async fn two_hundred_at_once_all_start_and_all_end() {
    let launcher = launcher();
    let mut runs = JoinSet::new();
    for number in 0..200 {
        let launcher = launcher.clone();
        runs.spawn(async move {
            let mut child =
                launcher.spawn(talking_shell(&format!("echo {number}; exit {}", number % 100))).await?;
            assert_eq!(all_of(&mut child.outputs[0]).await, format!("{number}\n"));
            assert_eq!(child.process.exited().await, Exit::Code(number % 100));
            Ok::<_, SpawnError>(child.pid)
        });
    }
    let pids = within_limit(runs.join_all()).await.into_iter().collect::<Result<Vec<_>, _>>().unwrap();
    assert_eq!(pids.len(), 200);
    assert!(pids.into_iter().all(is_reaped));
}

#[tokio::test]
async fn ends_are_told_apart_and_told_again() {
    let launcher = launcher();
    for (script, expected) in
        [("exit 0", Exit::Code(0)), ("exit 123", Exit::Code(123)), ("kill -USR1 $$", Exit::Signal(10))]
    {
        let mut child = launcher.spawn(shell(script, &[])).await.unwrap();
        assert_eq!(end_of(&mut child.process).await, expected);
        assert_eq!(end_of(&mut child.process).await, expected);
        assert!(is_reaped(child.pid));
        assert_eq!(child.process.usage(), None);
        // Both do nothing any more, whoever has the number now.
        child.process.terminate();
        child.process.kill();
    }
}

#[tokio::test]
async fn waiting_can_be_given_up_and_taken_up_again() {
    let mut child = launcher().spawn(order("sleep", &["600"])).await.unwrap();
    for _ in 0..3 {
        assert!(timeout(Duration::from_millis(1), child.process.exited()).await.is_err());
    }
    child.process.terminate();
    assert_eq!(end_of(&mut child.process).await, Exit::Signal(15));
}

#[tokio::test]
async fn a_grandchild_that_holds_the_pipes_is_killed_with_its_group() {
    let script = "sleep 600 & echo $!; exit 3";
    let mut child = launcher().spawn(talking_shell(script)).await.unwrap();
    let grandchild: u32 = line_of(&mut child.outputs[0]).await.parse().unwrap();
    assert_eq!(end_of(&mut child.process).await, Exit::Code(3));
    assert_eq!(all_of(&mut child.outputs[0]).await, "", "the pipe ends with the group");
    eventually("the grandchild ends", || is_gone(grandchild)).await;
}

#[tokio::test]
async fn one_that_ignores_the_request_is_killed_with_all_it_started() {
    let script = "trap '' TERM; sleep 600 & echo $!; wait";
    let mut child = launcher().spawn(talking_shell(script)).await.unwrap();
    let grandchild: u32 = line_of(&mut child.outputs[0]).await.parse().unwrap();
    child.process.terminate();
    assert!(timeout(Duration::from_millis(50), child.process.exited()).await.is_err());
    child.process.kill();
    assert_eq!(end_of(&mut child.process).await, Exit::Signal(9));
    eventually("the grandchild ends", || is_gone(grandchild)).await;
}

#[tokio::test]
async fn dropping_the_process_kills_the_group_and_leaves_no_zombie() {
    let launcher = launcher();
    let mut child = launcher.spawn(talking_shell("sleep 600 & echo $!; wait")).await.unwrap();
    let grandchild: u32 = line_of(&mut child.outputs[0]).await.parse().unwrap();
    let pid = child.pid;
    // Not even the launcher has to live on.
    drop(launcher);
    drop(child);
    eventually("the child is reaped", || is_reaped(pid)).await;
    eventually("the grandchild ends", || is_gone(grandchild)).await;
}

#[tokio::test]
async fn a_child_outlives_the_launcher_and_the_task_that_started_it() {
    let mut child = {
        let launcher = launcher();
        tokio::spawn(async move { launcher.spawn(talking_shell("read line </dev/zero; sleep 600")).await })
            .await
            .unwrap()
            .unwrap()
    };
    assert!(timeout(Duration::from_millis(100), child.process.exited()).await.is_err());
    assert!(!is_gone(child.pid));
}

#[tokio::test]
async fn a_caller_that_leaves_before_the_answer_leaves_nothing_behind() {
    let launcher = launcher();
    let directory = tempfile::tempdir().unwrap();
    // The label is what such a child can be found by.
    let label = directory.path().file_name().unwrap().to_str().unwrap().to_owned();
    for _ in 0..20 {
        let order = Order { label: label.clone(), ..order("sleep", &["600"]) };
        // Polled once, so that the order is on its way.
        timeout(Duration::ZERO, launcher.spawn(order)).await.ok();
    }
    // Orders are taken in turn: when this one has been, so have all before it.
    let mut last = launcher.spawn(order("true", &[])).await.unwrap();
    end_of(&mut last.process).await;
    let mark = format!("SLUICE_RUN={label}");
    eventually("all are gone", || {
        !fs::read_dir("/proc").unwrap().flatten().any(|entry| {
            let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
            environment.split(|&byte| byte == 0).any(|variable| variable == mark.as_bytes())
        })
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_run_is_told_apart() {
    let launcher = launcher();
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing");
    let plain = directory.path().join("plain");
    fs::write(&plain, "#!/bin/sh\n").unwrap();
    // The system does not run what somebody is still writing.
    let busy = directory.path().join("busy");
    let _writer = File::create(&busy).unwrap();
    fs::set_permissions(&busy, fs::Permissions::from_mode(0o755)).unwrap();

    let result = launcher.spawn(order(&missing, &[])).await;
    assert!(matches!(result, Err(SpawnError::NotFound(path)) if path == missing));
    let result = launcher.spawn(order("surely-no-such-program", &[])).await;
    assert!(matches!(result, Err(SpawnError::NotFound(_))), "{result:?}");
    let result = launcher.spawn(order(&plain, &[])).await;
    assert!(matches!(result, Err(SpawnError::Denied(path)) if path == plain));
    let result = launcher.spawn(order(&busy, &[])).await;
    assert!(matches!(result, Err(SpawnError::Exec { .. })), "{result:?}");
    let result = launcher.spawn(order("true", &["a\0b"])).await;
    assert!(matches!(result, Err(SpawnError::Io { .. })), "{result:?}");
    let result = launcher.spawn(Order { stdout: Some(0), ..order("true", &[]) }).await;
    assert!(matches!(result, Err(SpawnError::Io { .. })), "{result:?}");
    let result = launcher.spawn(order("true", &["pipe:@out0@"])).await;
    assert!(matches!(result, Err(SpawnError::Launcher { .. })), "{result:?}");

    let mut child = launcher.spawn(order("true", &[])).await.unwrap();
    assert_eq!(end_of(&mut child.process).await, Exit::Code(0));
}

#[tokio::test]
async fn an_executable_that_is_no_launcher_is_noticed() {
    let launcher = Launcher::start(PathBuf::from("/bin/true")).unwrap();
    let result = launcher.spawn(order("true", &[])).await;
    assert!(matches!(result, Err(SpawnError::Launcher { .. })), "{result:?}");
    let launcher = Launcher::start(PathBuf::from("/surely/nothing")).unwrap();
    let result = launcher.spawn(order("true", &[])).await;
    assert!(matches!(result, Err(SpawnError::Io { .. })), "{result:?}");
}

#[tokio::test]
async fn a_launcher_that_is_called_by_hand_says_what_it_is() {
    let by_hand = order(env!("CARGO_BIN_EXE_sluiced"), &["__launch", "1", "0", "-", "true"]);
    let captured = within_limit(capture(&launcher(), by_hand, LIMIT, 1000)).await.unwrap();
    assert_eq!(captured.exit, Exit::Code(125));
    assert!(String::from_utf8(captured.stderr).unwrap().contains("not for people"));
}

#[tokio::test]
async fn usage_counts_processor_time_and_memory() {
    let child = launcher().spawn(shell("while :; do :; done", &[])).await.unwrap();
    let usage = || child.process.usage().unwrap();
    eventually("a busy child uses processor time", || usage().cpu > Duration::ZERO).await;
    assert!(usage().memory.as_u64() > 0);
}

/// After a fork, the parent's memory is shared with the child, and each page that the parent writes to costs
/// it a fault. What the engine does instead leaves its memory alone, however large it is.
#[tokio::test]
async fn starting_a_child_does_not_fork_the_engine() {
    const PAGE: usize = 4096;
    let mut memory = vec![1_u8; 64 << 20];
    let launcher = launcher();
    let mut touch = |value: u8| {
        let before = faults();
        memory.iter_mut().step_by(PAGE).for_each(|byte| *byte = value);
        std::hint::black_box(&memory);
        faults() - before
    };
    touch(2);
    let child = launcher.spawn(order("sleep", &["600"])).await.unwrap();
    let after = touch(3);
    // Even with huge pages a fork would cost one fault for each two megabytes.
    assert!(after < 16, "{after} faults");
    drop(child);
}

fn faults() -> u64 {
    let stat = fs::read_to_string("/proc/thread-self/stat").unwrap();
    stat.rsplit_once(')').unwrap().1.split_ascii_whitespace().nth(7).unwrap().parse().unwrap()
}

/// The engine is played by this very test in a process of its own, which starts a child, tells its number
/// and waits to be killed.
#[tokio::test]
async fn a_child_dies_with_an_engine_that_is_killed() {
    const PLAY: &str = "PLAY_AN_ENGINE";
    if std::env::var_os(PLAY).is_some() {
        let child = launcher().spawn(shell("trap '' TERM HUP; exec sleep 600", &[])).await.unwrap();
        println!("child {}", child.pid);
        return std::future::pending().await;
    }

    let me = std::env::current_exe().unwrap();
    let name = "a_child_dies_with_an_engine_that_is_killed";
    let mut order =
        order("env", &[&format!("{PLAY}=1"), me.to_str().unwrap(), "--exact", name, "--nocapture"]);
    order.outputs = vec![Pipe::Small];
    order.stdout = Some(0);
    let mut engine = launcher().spawn(order).await.unwrap();
    let child: u32 = loop {
        let line = line_of(&mut engine.outputs[0]).await;
        // The test harness writes to the same line.
        if let Some((_, pid)) = line.split_once("child ") {
            break pid.parse().unwrap();
        }
    };
    assert!(!is_gone(child));
    engine.process.kill();
    assert_eq!(end_of(&mut engine.process).await, Exit::Signal(9));
    eventually("the child ends", || is_gone(child)).await;
}

async fn run(script: &str, limit: Duration, most: usize) -> Result<Captured, CaptureError> {
    within_limit(capture(&launcher(), order("sh", &["-c", script]), limit, most)).await
}

#[tokio::test]
async fn what_a_child_prints_is_captured_from_both_pipes_at_once() {
    // Each is more than a pipe holds: read one after the other, they would wait for each other for ever.
    let script = "head -c 600000 /dev/zero; head -c 600000 /dev/zero >&2; echo last >&2; head -c 400000 /dev/zero; exit 4";
    let captured = run(script, LIMIT, 1_000_000).await.unwrap();
    assert_eq!(captured.exit, Exit::Code(4));
    assert_eq!(captured.stdout.len(), 1_000_000);
    assert_eq!(captured.stderr.len(), 600_005);

    let captured = run("head -c 600000 /dev/zero >&2; echo last >&2", LIMIT, 100).await.unwrap();
    assert_eq!(captured.stderr.len(), 100);
    assert!(captured.stderr.ends_with(b"last\n"));
}

#[tokio::test]
async fn capturing_is_bounded_in_time_and_in_size() {
    let result = run("echo why >&2; sleep 600", Duration::from_millis(500), 100).await;
    assert!(matches!(result, Err(CaptureError::TimedOut { .. })), "{result:?}");
    let result = run("cat /dev/zero", LIMIT, 100_000).await;
    assert!(matches!(result, Err(CaptureError::TooMuch(100_000))), "{result:?}");
    let result = run("true", Duration::ZERO, 100).await;
    assert!(matches!(result, Err(CaptureError::TimedOut { .. })), "{result:?}");
    let missing = capture(&launcher(), order("surely-no-such-program", &[]), LIMIT, 100).await;
    assert!(matches!(missing, Err(CaptureError::Spawn(SpawnError::NotFound(_)))), "{missing:?}");
}

#[tokio::test]
async fn capturing_does_not_wait_for_who_has_left_the_group() {
    let captured = run("setsid sleep 600 & sleep 0.2; echo $!", LIMIT, 100).await.unwrap();
    assert_eq!(captured.exit, Exit::Code(0));
    // It has left the session, so that nothing but this test can end it.
    let pid: i32 = String::from_utf8(captured.stdout).unwrap().trim().parse().unwrap();
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(pid).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
}
