//! A collector that a CERT prepared: it runs its own plan, with no arguments and no questions.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use jiff::Timestamp;
use scelle::{
    Destination, Order, Prepared,
    engine::{Plan, Progress, profile::show_size},
    evidence::OpenOptions,
};

use super::{away::Away, collect::refuse_freer};
use crate::{
    AwayArgs, Exit, Terminal, Tone,
    collected::{tell, warn_of_less},
    delivery::address,
    names::{bundle_name, executable_folder, file_name, plain_name},
    output::{refuse_existing, refuse_on_source, tell_left_out},
};

/// What may be said to a prepared collector; all else stands in its plan.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Where the bundle goes: a folder, a file or a store [default: the plan's store, else this program's folder]
    #[arg(long, value_name = "DIR|FILE|URL")]
    out: Option<PathBuf>,
    /// Go on with a collection that was cut off; --out names its file
    #[arg(long, requires = "out")]
    resume: bool,
    /// Show what it would do, and do nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    away: AwayArgs,
}

/// Runs the plan.
///
/// # Errors
/// Where nothing could be collected; the message says why and what to do.
pub fn run(args: &Args, prepared: &Prepared, terminal: &Terminal) -> Result<Exit> {
    let plan = &prepared.plan;
    let tlp = plan.label()?;
    let (key, said) = prepared.begin()?;
    let name = format!(
        "{}-run-{}",
        plain_name(&plan.case, "", 60, "case"),
        said.deployment.run
    );
    let is_encrypted = !plan.recipients.is_empty();
    let file = file_name(&name, is_encrypted);
    let source_path = Path::new(&plan.source);
    let spared = (!plan.allow_source_volume).then_some(source_path);
    let mut away = match (address(args.out.as_deref())?, &plan.delivery) {
        (Some(_), _) if args.resume => {
            bail!("what a store has can't be gone on with: run it again")
        }
        (Some(address), _) => Some(Away::new(address, &args.away, &file, is_encrypted, false)?),
        (None, Some(planned)) if args.out.is_none() => {
            Some(Away::planned(planned, &args.away, &file, is_encrypted)?)
        }
        (None, Some(_)) => args.away.delivery.check_planned().map(|()| None)?,
        (None, None) => None,
    };
    if let Some(away) = &mut away {
        away.settle(spared, !args.dry_run, terminal);
    }
    let out = match &args.out {
        Some(out) => out.clone(),
        None => executable_folder()?,
    };
    let path = match &away {
        Some(away) => away.address.to_string().into(),
        None if out.is_dir() => out.join(file),
        None => out,
    };
    // Each run has its own number; what is gone on with keeps the name that it was begun with.
    let name = if args.resume {
        bundle_name(&path)
    } else {
        name
    };
    let outputs: Vec<_> = match &away {
        Some(away) => away.outputs().cloned().collect(),
        None => vec![path.clone()],
    };
    announce(prepared, &path, away.as_ref(), terminal);
    let or = match away {
        Some(_) => "name places on another disk with --receipt and --fallback",
        None => "run this program from another disk, or name a folder on one with --out",
    };
    if let Some(source) = spared {
        tell_left_out(source, &outputs, or, terminal);
    }
    for output in &outputs {
        refuse_existing(output, false)?;
        if let Some(source) = spared {
            refuse_on_source(source, output, or)?;
        }
    }
    if args.dry_run {
        return Ok(Exit::COMPLETE);
    }
    let options = OpenOptions {
        left_out: spared.map_or_else(Vec::new, |_| outputs),
        ..OpenOptions::default()
    };
    let source = scelle::open_with(source_path, &options)?;
    refuse_freer(&source, source_path, tlp)?;
    let outgoing = match &away {
        Some(away) => Some(away.begin(terminal)?),
        None => args.away.check_unused().map(|()| None)?,
    };
    let progress = Progress::default();
    let (collected, ended) = terminal.watch(&progress, || -> Result<_> {
        let profile = plan.profile.clone();
        let planned = Plan::new(source.evidence(), profile, plan.limits, &progress);
        let order = Order {
            case: Some(plan.case.clone()),
            key: Some(key),
            recipients: prepared.recipients(),
            prepared: Some(said),
            timestamp: plan.timestamp.as_deref().map(str::parse).transpose()?,
            ..Order::new(name, tlp, plan.source.clone())
        };
        if let (Some(away), Some(out)) = (&away, outgoing) {
            let (collected, ended) = away.write(out, &source, &planned, order, &progress)?;
            return Ok((collected, Some(ended)));
        }
        let collected = if args.resume {
            scelle::resume(&source, &planned, order, &path, &progress)?
        } else {
            let destination = Destination::File { path, force: false };
            scelle::collect(&source, &planned, order, destination, &progress)?
        };
        Ok((collected, None))
    })?;
    warn_of_less(&collected, terminal);
    let exit = match (&away, &ended) {
        (Some(away), Some(ended)) => away.tell(collected, ended, tlp, terminal)?,
        _ => {
            tell(&collected, tlp, terminal, false)?;
            Exit::with_losses(collected.losses > 0)
        }
    };
    terminal.note("write the root down and tell it to whoever gave you this program");
    Ok(exit)
}

/// Says what is about to be done.
fn announce(prepared: &Prepared, path: &Path, away: Option<&Away<'_>>, terminal: &Terminal) {
    let plan = &prepared.plan;
    let time = |seconds: u32| {
        Timestamp::from_second(seconds.into())
            .map_or_else(|_| seconds.to_string(), |time| time.to_string())
    };
    let [way, receipt, rest] = away.map(Away::rows).unwrap_or_default();
    let head = |text: &str| terminal.paint(Tone::Strong, format!("{text:<11}"));
    let readers: Vec<_> = plan
        .recipients
        .iter()
        .map(|one| &*one.fingerprint)
        .collect();
    let reading = match readers.len() {
        0 => "anybody who gets the bundle: it is not encrypted".to_owned(),
        _ => readers.join(", "),
    };
    let most = [
        ("in all ", plan.limits.max_total_bytes),
        ("a file ", plan.limits.max_file_bytes),
    ];
    let most: Vec<_> = most
        .into_iter()
        .filter_map(|(what, limit)| Some(format!("{what}{}", show_size(limit?))))
        .collect();
    for (name, text) in [
        ("Team", plan.team.clone()),
        ("Case", plan.case.clone()),
        (
            "Collects",
            format!("{} from {}", plan.profile.name, plan.source),
        ),
        ("At most", most.join(", ")),
        ("Label", plan.tlp.clone()),
        ("Readers", reading),
        ("Time from", plan.timestamp.clone().unwrap_or_default()),
        ("Into", path.display().to_string()),
        way,
        receipt,
        rest,
        ("Until", time(plan.until)),
        ("Plan", prepared.plan_blake3.clone()),
    ] {
        if !text.is_empty() {
            terminal.note(format!("{}{text}", head(name)));
        }
    }
    if let Some(doubt) = &prepared.doubt {
        terminal.warn(format!(
            "the time for which this collector was prepared is over, by the clock of this machine ({}): \
             it collects all the same, but nobody may vouch for the bundle; write the root down ({doubt})",
            Timestamp::now()
        ));
    }
}
