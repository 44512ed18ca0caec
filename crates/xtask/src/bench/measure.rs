//! Runs commands, and says how long they took and what they held.
//!
//! CPU time is what the kernel counted for waited-for children (`cutime` and `cstime` of
//! proc(5), in steps of 10 ms), so pipelines count whole. Anonymous memory is sampled.

use std::{
    fs,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};

/// What one run, or the median of several, came to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    pub(crate) wall: f64,
    pub(crate) cpu: f64,
    pub(crate) anon_kib: u64,
}

/// A side of a comparison: a shell command, and which exit statuses are fine.
#[derive(Clone, Debug)]
pub(crate) struct Side {
    pub(crate) command: String,
    /// Removes what a run wrote, before the next one; not measured.
    pub(crate) clean: String,
    pub(crate) fine: &'static [i32],
}

const SAMPLE_EVERY: Duration = Duration::from_millis(2);
/// Clock ticks a second, USER_HZ: 100 on every Linux.
const TICKS: f64 = 100.0;

impl Side {
    pub(crate) fn new(command: impl Into<String>) -> Self {
        Self {
            command: command.into(),
            clean: String::new(),
            fine: &[0],
        }
    }

    #[must_use]
    pub(crate) fn cleaned_by(mut self, clean: impl Into<String>) -> Self {
        self.clean = clean.into();
        self
    }

    #[must_use]
    pub(crate) fn may_end_with(mut self, fine: &'static [i32]) -> Self {
        self.fine = fine;
        self
    }

    /// Runs it once.
    pub(crate) fn run(&self) -> anyhow::Result<Cost> {
        if !self.clean.is_empty() {
            run("sh", &["-c", &self.clean])?;
        }
        let before = children_cpu()?;
        let began = Instant::now();
        let mut child = Command::new("sh")
            .args(["-c", &format!("exec {}", self.command)])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let (done, peak) = (AtomicBool::new(false), AtomicU64::new(0));
        let pid = child.id();
        let (status, said, wall) = thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Relaxed) {
                    peak.fetch_max(anonymous_kib(pid).unwrap_or(0), Relaxed);
                    thread::sleep(SAMPLE_EVERY);
                }
            });
            let said = child.stderr.take().map(std::io::read_to_string);
            let status = child.wait();
            let wall = began.elapsed().as_secs_f64();
            done.store(true, Relaxed);
            (status, said, wall)
        });
        let status = status?;
        let fine = status.code().is_some_and(|code| self.fine.contains(&code));
        ensure!(
            fine,
            "{}: {status}: {}",
            self.command,
            said.transpose()?.unwrap_or_default()
        );
        Ok(Cost {
            wall,
            cpu: children_cpu()? - before,
            anon_kib: peak.into_inner(),
        })
    }
}

impl Side {
    /// Runs it, after one round that warms the caches, and gives the median.
    pub(crate) fn median(&self, rounds: usize) -> anyhow::Result<Cost> {
        self.run()?;
        let costs: Vec<Cost> = (0..rounds).map(|_| self.run()).collect::<Result<_, _>>()?;
        Ok(median(&costs))
    }
}

/// Runs both sides in turn, after one round that warms the caches, and gives their medians.
pub(crate) fn compare(ours: &Side, theirs: &Side, rounds: usize) -> anyhow::Result<(Cost, Cost)> {
    let mut costs = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        let pair = (ours.run()?, theirs.run()?);
        if round > 0 {
            costs.0.push(pair.0);
            costs.1.push(pair.1);
        }
    }
    Ok((median(&costs.0), median(&costs.1)))
}

fn median(costs: &[Cost]) -> Cost {
    let middle = |of: fn(&Cost) -> f64| {
        let mut values: Vec<f64> = costs.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    Cost {
        wall: middle(|cost| cost.wall),
        cpu: middle(|cost| cost.cpu),
        // The worst that was seen, since a limit holds for every run.
        anon_kib: costs.iter().map(|cost| cost.anon_kib).max().unwrap_or(0),
    }
}

/// Runs a command that has to succeed.
pub(crate) fn run(program: &str, arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .with_context(|| program.to_owned())?;
    ensure!(
        output.status.success(),
        "{program} {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// What a shell command prints.
pub(crate) fn output(command: &str) -> anyhow::Result<String> {
    let output = Command::new("sh").args(["-c", command]).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn children_cpu() -> anyhow::Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    // The name may hold anything, a bracket included; fields count from behind its last one.
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .context("a stat line")?
        .1
        .split_whitespace()
        .collect();
    let ticks = |field: usize| -> anyhow::Result<f64> {
        Ok(fields.get(field).context("a stat line")?.parse()?)
    };
    const CUTIME: usize = 13;
    Ok((ticks(CUTIME)? + ticks(CUTIME + 1)?) / TICKS)
}

fn anonymous_kib(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("RssAnon:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
