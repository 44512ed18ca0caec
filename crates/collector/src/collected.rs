//! What is told of a collection, and of a plan for one.

use std::{ops::ControlFlow, path::Path};

use anyhow::Result;
use scelle::{
    Collected, Source,
    bundle::grouped,
    engine::{Plan, Step, plan::stored_bytes, profile::show_size},
    event::{Coverage, Label, Outcome, Tlp},
};
use serde_json::json;

use crate::{Exit, Terminal, Tone};

/// Losses that are shown unless `--verbose` asks for all.
const LOSSES_SHOWN: usize = 10;

/// Prints what was collected; to standard error where standard output holds the bundle.
pub(crate) fn tell(
    collected: &Collected,
    tlp: Tlp,
    terminal: &Terminal,
    to_stdout: bool,
) -> Result<()> {
    show_losses(&collected.shown_losses, collected.losses, terminal);
    let lines = match terminal.json {
        true => vec![object(collected, tlp).to_string()],
        false => describe(collected, tlp, terminal),
    };
    for line in lines {
        if to_stdout {
            terminal.beside(line);
        } else {
            terminal.line(line)?;
        }
    }
    Ok(())
}

/// Warns where a bundle has less than was asked for, and no loss says so.
pub(crate) fn warn_of_less(collected: &Collected, terminal: &Terminal) {
    if let Some(Err(what)) = &collected.stamp {
        terminal.warn(format!("there is no time-stamp: {what}"));
    }
    if collected.files == 0 {
        terminal.warn("nothing was collected: no pattern of the profile matches");
    }
}

/// The result as JSON; the keys are stable.
pub fn object(collected: &Collected, tlp: Tlp) -> serde_json::Value {
    json!({
        "bundle": collected.path.as_deref().map(Path::to_string_lossy),
        "root": collected.root,
        "root_sha256": collected.root_sha256,
        "payload": collected.payload,
        "tlp": tlp.name(),
        "files": collected.files,
        "bytes": collected.bytes,
        "losses": collected.losses,
        "part": collected.part,
    })
}

/// The result as lines of text.
pub fn describe(collected: &Collected, tlp: Tlp, terminal: &Terminal) -> Vec<String> {
    let head = |text: &str| terminal.paint(Tone::Strong, format!("{text:<11}"));
    let path = collected
        .path
        .as_deref()
        .map_or("standard output".into(), Path::to_string_lossy);
    let mut lines = vec![
        format!("{}{path}", head("Bundle")),
        format!(
            "{}{} files, {}, {} losses",
            head("Collected"),
            collected.files,
            show_size(collected.bytes),
            collected.losses
        ),
        format!("{}{tlp}", head("Label")),
        format!("{}{}", head("Root"), grouped(&collected.root)),
        format!("{}{}", head("  SHA-256"), grouped(&collected.root_sha256)),
        format!("{}{}", head("Payload"), grouped(&collected.payload)),
    ];
    if collected.part > 1 {
        lines.push(format!(
            "{}{} of a collection that was cut off: it is read and verified with the parts before",
            head("Part"),
            collected.part
        ));
    }
    if let Some(Ok(time)) = &collected.stamp {
        lines.push(format!("{}{time}", head("Time-stamp")));
    }
    lines
}

/// Tells of each loss, the first ones at least.
pub fn show_losses(losses: &[Coverage], count: u64, terminal: &Terminal) {
    let shown = if terminal.is_verbose() {
        losses.len()
    } else {
        losses.len().min(LOSSES_SHOWN)
    };
    for loss in &losses[..shown] {
        terminal.warn(show_coverage(loss));
    }
    if count > shown as u64 {
        terminal.warn(format!(
            "{} more losses; all of them stand in the bundle's records/coverage.jsonl and records/warnings.jsonl",
            count - shown as u64
        ));
    }
}

/// A line of the ledger as a sentence.
pub fn show_coverage(line: &Coverage) -> String {
    let what = line.path.as_deref().unwrap_or(&line.target);
    let detail = line.detail.as_deref().map(|detail| format!(": {detail}"));
    format!(
        "{what}: {}{}",
        line.outcome.name(),
        detail.unwrap_or_default()
    )
}

/// Shows what would be taken, and what could not be.
///
/// # Errors
/// When standard output can't be written.
pub(crate) fn show_plan(
    source: &Source,
    plan: &Plan,
    label: &Label,
    terminal: &Terminal,
) -> Result<Exit> {
    let evidence = source.evidence();
    if !terminal.json {
        terminal.label(label);
    }
    let mut result = Ok(());
    let mut left: Vec<Coverage> = plan.coverage.clone();
    plan.visit(evidence, &mut |step| {
        match step {
            Step::Take(planned) => {
                let id = planned.id(evidence.volumes[planned.volume].as_ref());
                let size = stored_bytes(planned.info());
                result = if terminal.json {
                    terminal.object(&json!({
                        "tlp": label.tlp.name(),
                        "target": &*planned.target,
                        "path": id.to_string(),
                        "size": planned.info().size_bytes,
                        "stored": size,
                    }))
                } else {
                    terminal.line(format!("{size:>14}  {id}"))
                };
            }
            Step::Leave(coverage) => left.push(coverage),
        }
        if result.is_ok() {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    });
    result?;
    let lost: Vec<_> = left.iter().filter(|line| line.outcome.is_loss()).collect();
    for line in &lost {
        terminal.warn(show_coverage(line));
    }
    let absent = left
        .iter()
        .filter(|line| line.outcome == Outcome::Absent)
        .count();
    if !terminal.json {
        terminal.line(terminal.paint(
            Tone::Strong,
            format!(
                "{} streams, {}; {} that can't be taken; {absent} patterns match nothing",
                plan.streams,
                show_size(plan.bytes),
                lost.len()
            ),
        ))?;
    }
    for line in left.iter().filter(|line| line.outcome == Outcome::Absent) {
        terminal.detail(show_coverage(line));
    }
    Ok(Exit::with_losses(!lost.is_empty()))
}
