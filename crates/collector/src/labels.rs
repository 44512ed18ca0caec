//! Labels: carried from what is read to what is written.
//!
//! An output bears the strictest label of its inputs, or a stricter one that was asked for. A bundle has its label
//! under its seal. Whatever else is read bears none that can be trusted, so without a word it counts as `TLP:RED`;
//! `--tlp` says what it is. Lowering takes `--lower-label` and a reason, which the output then carries.

use std::path::Path;

use anyhow::{Result, bail};
use scelle::{
    Source,
    event::{Label, Lowered, Tlp},
};
use scelle_incident::Incident;

use crate::Terminal;

/// The heading of these options.
const HEADING: &str = "Label (TLP 2.0)";
/// What counts where nothing bears a label and none is said: no output is freer by accident.
const UNSAID: Tlp = Tlp::Red;

/// How strict the label of a result may be.
#[derive(clap::Args, Clone, Copy, Debug, Default)]
pub struct AtMostArgs {
    /// Refuse a result that would bear a stricter label than this one
    #[arg(long, value_name = "LABEL", help_heading = HEADING)]
    pub at_most: Option<Tlp>,
}

/// The label of an output, where it is said.
#[derive(clap::Args, Clone, Copy, Debug, Default)]
pub struct StateArgs {
    /// The label of the output: as strict as that of its strictest input, or stricter
    /// [default: that of the strictest input; what bears none counts as red]
    #[arg(long, value_name = "LABEL", help_heading = HEADING)]
    pub tlp: Option<Tlp>,
    /// How strict it may be.
    #[command(flatten)]
    pub limit: AtMostArgs,
}

/// The label of an export, which may be lowered.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct LabelArgs {
    /// What is stated, and the limit.
    #[command(flatten)]
    pub state: StateArgs,
    /// Give the output a freer label than its inputs have; with a reason, which the output carries
    #[arg(
        long,
        value_name = "LABEL",
        requires = "reason",
        conflicts_with = "tlp",
        help_heading = HEADING
    )]
    pub lower_label: Option<Tlp>,
    /// Why the label is lowered, and on whose word
    #[arg(
        long,
        value_name = "TEXT",
        requires = "lower_label",
        help_heading = HEADING
    )]
    pub reason: Option<String>,
}

/// What an output is made of, as far as labels go.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// The strictest label that is under a seal, or claimed, and where it stands.
    strictest: Option<(Tlp, String)>,
    /// The first input without a label that can be trusted.
    unlabelled: Option<String>,
}

impl Inputs {
    /// One source.
    pub fn source(path: &Path, source: &Source) -> Self {
        let mut inputs = Self::default();
        inputs.add_source(path, source);
        inputs
    }

    /// Adds a source: a bundle has its label under its seal.
    pub fn add_source(&mut self, path: &Path, source: &Source) {
        match source.bundle() {
            Some(facts) => self.add(facts.tlp, path.display().to_string()),
            None => self.add_file(path),
        }
    }

    /// Adds a file that bears no label, but may lie in a bag that claims one.
    pub fn add_file(&mut self, path: &Path) {
        self.add_claim(path);
        self.unlabelled
            .get_or_insert_with(|| path.display().to_string());
    }

    /// An incident record: its own label, and that of the bag that it may lie in.
    pub fn incident(path: &Path, incident: &Incident) -> Self {
        let mut inputs = Self::default();
        inputs.add_claim(path);
        if let Some(tlp) = incident.binding_label() {
            let name = format!("the incident record {}", path.display());
            let name = match (incident.label(), &incident.tlp) {
                (None, Some(text)) => format!("{name}, whose label {text:?} can't be read,"),
                _ => name,
            };
            inputs.add(tlp, name);
        }
        inputs
    }

    /// Adds what the bag claims in which a file may lie.
    fn add_claim(&mut self, path: &Path) {
        let name = path.display().to_string();
        if let Some(claimed) = scelle::claimed_label(path) {
            let of = match &claimed.unreadable {
                Some(why) => {
                    format!("{name}, the label of whose bag can't be read ({why}),")
                }
                None => format!("the bag that {name} is from"),
            };
            self.add(claimed.tlp, of);
        }
    }

    /// Adds what bears a label.
    pub fn add(&mut self, tlp: Tlp, name: String) {
        if self
            .strictest
            .as_ref()
            .is_none_or(|(known, _)| tlp > *known)
        {
            self.strictest = Some((tlp, name));
        }
    }

    /// What an output bears where nothing is said.
    fn carried(&self) -> Tlp {
        let sealed = self.strictest.as_ref().map(|(tlp, _)| *tlp);
        match self.unlabelled {
            Some(_) => UNSAID,
            None => sealed.unwrap_or(UNSAID),
        }
    }
}

impl AtMostArgs {
    /// The label of what is shown of `inputs`.
    ///
    /// # Errors
    /// Where it is stricter than is allowed.
    pub fn carry(&self, inputs: &Inputs) -> Result<Label> {
        let label = Label::from(inputs.carried());
        self.check(&label, inputs)?;
        Ok(label)
    }

    fn check(&self, label: &Label, inputs: &Inputs) -> Result<()> {
        let Some(limit) = self.at_most.filter(|limit| label.tlp > *limit) else {
            return Ok(());
        };
        let why = match (&inputs.unlabelled, &inputs.strictest) {
            (_, Some((tlp, name))) if *tlp == label.tlp => format!("{name} is {tlp}"),
            (Some(name), _) => {
                format!("{name} bears no label, so it counts as {UNSAID} unless one is said")
            }
            (None, Some((tlp, name))) => format!("{name} is {tlp}"),
            (None, None) => format!("nothing bears a label, so it counts as {UNSAID}"),
        };
        bail!(
            "the result would be {}, and --at-most allows {limit}: {why}",
            label.tlp
        );
    }
}

impl StateArgs {
    /// That label, and no limit.
    pub fn stated(tlp: Tlp) -> Self {
        Self {
            tlp: Some(tlp),
            ..Self::default()
        }
    }

    /// The label of what is made of `inputs`.
    ///
    /// # Errors
    /// Where one is stated that is freer than an input's, or the label is stricter than is allowed.
    pub fn carry(&self, inputs: &Inputs) -> Result<Label> {
        let label = match (self.tlp, &inputs.strictest) {
            (Some(stated), Some((tlp, name))) if stated < *tlp => bail!(
                "{name} is {tlp}, so nothing that is made of it is {stated}: leave --tlp out, or say \
                 --tlp {tlp}; an export is lowered with --lower-label and --reason, where the command \
                 has them"
            ),
            (Some(stated), _) => stated,
            (None, _) => inputs.carried(),
        };
        if let (Some(stated), Some(limit)) = (self.tlp, self.limit.at_most)
            && stated > limit
            && inputs
                .strictest
                .as_ref()
                .is_none_or(|(tlp, _)| *tlp <= limit)
        {
            bail!("--tlp {stated} is stricter than what --at-most allows, {limit}");
        }
        let label = Label::from(label);
        self.limit.check(&label, inputs)?;
        Ok(label)
    }

    /// As [`carry`](Self::carry), and says so where the label rests on no input and no word.
    ///
    /// # Errors
    /// As [`carry`](Self::carry).
    pub fn carry_aloud(&self, inputs: &Inputs, terminal: &Terminal) -> Result<Label> {
        let label = self.carry(inputs)?;
        if let (None, Some(name)) = (self.tlp, &inputs.unlabelled) {
            terminal.note(format!(
                "{name} bears no label: the output is {UNSAID}, the strictest; --tlp states another"
            ));
        }
        Ok(label)
    }
}

impl LabelArgs {
    /// The label of an export of `inputs`.
    ///
    /// # Errors
    /// As [`StateArgs::carry`], and where lowering lowers nothing, or the reason is blank.
    pub fn carry(&self, inputs: &Inputs, terminal: &Terminal) -> Result<Label> {
        let Some(tlp) = self.lower_label else {
            return self.state.carry_aloud(inputs, terminal);
        };
        let from = inputs.carried();
        if tlp >= from {
            bail!("{tlp} is not lower than {from}, which the inputs are: use --tlp {tlp}");
        }
        let reason = self.reason.as_deref().unwrap_or_default().trim();
        if reason.is_empty() {
            bail!("--reason says nothing: write why the label is lowered, and on whose word");
        }
        let label = Label {
            tlp,
            lowered: Some(Lowered {
                from,
                reason: reason.to_owned(),
            }),
        };
        self.state.limit.check(&label, inputs)?;
        terminal.note(format!("label: {label}"));
        Ok(label)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(labels: &[Tlp]) -> Inputs {
        let mut inputs = Inputs::default();
        for tlp in labels {
            inputs.add(*tlp, tlp.to_string());
        }
        inputs
    }

    fn state(tlp: Option<Tlp>, at_most: Option<Tlp>) -> StateArgs {
        StateArgs {
            tlp,
            limit: AtMostArgs { at_most },
        }
    }

    /// Every set of one or two inputs, every stated label, every limit.
    #[test]
    fn the_strictest_input_is_a_floor_and_the_limit_a_ceiling() {
        let maybe = || std::iter::once(None).chain(Tlp::ALL.map(Some));
        for first in Tlp::ALL {
            for second in Tlp::ALL {
                for stated in maybe() {
                    for limit in maybe() {
                        let floor = first.max(second);
                        let want = stated.unwrap_or(floor);
                        let fits = want >= floor && limit.is_none_or(|limit| want <= limit);
                        let carried = state(stated, limit).carry(&inputs(&[first, second]));
                        assert_eq!(
                            carried.ok(),
                            fits.then(|| Label::from(want)),
                            "{first} {second} {stated:?} {limit:?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn what_bears_no_label_is_red_unless_it_is_said() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut inputs = inputs(&[Tlp::Green]);
        inputs.add_file(folder.path());
        let carry = |tlp, at_most| state(tlp, at_most).carry(&inputs).map(|label| label.tlp);
        assert_eq!(carry(None, None).ok(), Some(Tlp::Red));
        assert_eq!(carry(Some(Tlp::Green), None).ok(), Some(Tlp::Green));
        let said = carry(None, Some(Tlp::Amber))
            .expect_err("too strict")
            .to_string();
        assert!(said.contains("bears no label"), "{said}");
        assert!(carry(Some(Tlp::Clear), None).is_err());
    }

    /// A folder that claims to be freer than it is loosens nothing; one that claims to be stricter binds.
    #[test]
    fn a_claim_without_a_seal_only_binds() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a/b.bin");
        std::fs::create_dir(folder.path().join("a")).expect("a folder");
        std::fs::write(&file, "x").expect("a file");
        let claim = |tlp: Tlp| {
            let info = folder.path().join("bag-info.txt");
            std::fs::write(info, format!("A: b\nScelle-TLP: {tlp}\n")).expect("a file");
            let mut inputs = Inputs::default();
            inputs.add_file(&file);
            inputs
        };
        let clear = claim(Tlp::Clear);
        assert_eq!(state(None, None).carry(&clear).ok(), Some(Tlp::Red.into()));
        let amber = claim(Tlp::Amber);
        let stated = |tlp| state(Some(tlp), None).carry(&amber);
        assert_eq!(stated(Tlp::Amber).ok(), Some(Tlp::Amber.into()));
        assert!(stated(Tlp::Green).is_err());
    }

    /// It may be the strictest, so it is taken for that, and the refusal says why.
    #[test]
    fn a_claim_that_cannot_be_read_counts_as_the_strictest() {
        let folder = tempfile::tempdir().expect("a folder");
        let info = folder.path().join("bag-info.txt");
        std::fs::write(info, "Scelle-TLP: TLP:PURPLE\n").expect("a file");
        let mut inputs = Inputs::default();
        inputs.add_file(folder.path());
        let refused = [
            state(Some(Tlp::AmberStrict), None).carry(&inputs),
            state(None, Some(Tlp::AmberStrict)).carry(&inputs),
        ];
        for refused in refused {
            let why = refused.expect_err("it may be red").to_string();
            assert!(
                why.contains("\"TLP:PURPLE\" is not a TLP 2.0 label"),
                "{why}"
            );
        }
        let red = state(Some(Tlp::Red), None).carry(&inputs);
        assert_eq!(red.ok(), Some(Tlp::Red.into()));
    }

    #[test]
    fn lowering_takes_a_reason_and_is_kept() {
        let terminal = Terminal::new(&crate::Common {
            json: false,
            threads: None,
            quiet: true,
            verbose: false,
            color: crate::terminal::Color::Never,
        });
        let lower = |to, reason: &str, at_most| LabelArgs {
            state: state(None, at_most),
            lower_label: Some(to),
            reason: Some(reason.to_owned()),
        };
        let inputs = inputs(&[Tlp::Amber, Tlp::Red]);
        let label = lower(Tlp::Green, " agreed ", None)
            .carry(&inputs, &terminal)
            .expect("lowered");
        assert_eq!(label.to_string(), "TLP:GREEN, lowered from TLP:RED: agreed");
        assert!(
            lower(Tlp::Green, " ", None)
                .carry(&inputs, &terminal)
                .is_err()
        );
        assert!(
            lower(Tlp::Red, "agreed", None)
                .carry(&inputs, &terminal)
                .is_err()
        );
        let limited = lower(Tlp::Green, "agreed", Some(Tlp::Clear));
        assert!(limited.carry(&inputs, &terminal).is_err());
    }
}
