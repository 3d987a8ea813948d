//! What the engine's own process takes, as the kernel says. Reading it asks `/proc`, which does not wait for disks.

use std::fs;
use std::time::Duration;

/// The engine's own process.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[expect(missing_docs, reason = "the help of the metrics says it")]
pub struct Own {
    pub cpu: Duration,
    pub threads: u64,
    pub resident: u64,
    pub virtual_memory: u64,
    pub open_fds: u64,
    /// `None` is without limit.
    pub max_fds: Option<u64>,
    /// Since 1970.
    pub started: Duration,
}

impl Own {
    /// How it is now.
    pub fn read() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let boot = boot_time(&fs::read_to_string("/proc/stat").ok()?)?;
        // The listing itself holds one of them.
        let open_fds = fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1);
        let max_fds = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        Self { open_fds: open_fds as u64, max_fds, ..Self::of(&stat, boot)? }.into()
    }

    /// The name in the second field may hold anything, so the fields are counted from its last parenthesis.
    fn of(stat: &str, boot: Duration) -> Option<Self> {
        let (_, fields) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        // The first of them is the third of proc(5).
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let page = u64::try_from(rustix::param::page_size()).ok()?;
        Some(Self {
            cpu: ticks(field(14)?.checked_add(field(15)?)?)?,
            threads: field(20)?,
            started: boot + ticks(field(22)?)?,
            virtual_memory: field(23)?,
            resident: field(24)?.checked_mul(page)?,
            open_fds: 0,
            max_fds: None,
        })
    }
}

fn ticks(ticks: u64) -> Option<Duration> {
    let hertz = rustix::param::clock_ticks_per_second();
    let rest = Duration::from_secs(ticks % hertz) / u32::try_from(hertz).ok()?;
    Some(Duration::from_secs(ticks / hertz) + rest)
}

fn boot_time(stat: &str) -> Option<Duration> {
    let seconds = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    Some(Duration::from_secs(seconds.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_line_is_read_behind_a_name_with_spaces_and_parentheses() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 900 0 0 0 150 50 0 0 25 5 3 0 1234 99999 7 184467440";
        let own = Own::of(stat, Duration::from_secs(1000)).unwrap();
        let hertz = rustix::param::clock_ticks_per_second() as u32;
        assert_eq!(own.cpu, Duration::from_secs(200) / hertz);
        assert_eq!((own.threads, own.virtual_memory), (3, 99999));
        assert_eq!(own.resident, 7 * rustix::param::page_size() as u64);
        assert_eq!(own.started, Duration::from_secs(1000) + Duration::from_secs(1234) / hertz);
        assert_eq!(Own::of("42 (cut) S 1", Duration::ZERO), None);
        assert_eq!(boot_time("cpu 1 2\nbtime 77\n"), Some(Duration::from_secs(77)));
    }

    #[test]
    fn this_process_can_be_looked_at() {
        let own = Own::read().unwrap();
        assert!(own.threads >= 1 && own.resident > 0 && own.open_fds >= 3 && own.started > Duration::ZERO);
    }
}
