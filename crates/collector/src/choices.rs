//! Options of what is collected, and how it is sealed.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use scelle::{
    SealKey, Source, StampService,
    bundle::Compression,
    engine::{
        Plan, Profile, Progress,
        profile::{Limits, parse_size},
    },
    event::Tlp,
    evidence::OpenOptions,
};
use scelle_incident::{Incident, Language};

use crate::{
    Inputs, OpenArgs, RecipientArgs, StateArgs, Terminal,
    output::{refuse_existing, refuse_on_source, tell_left_out},
    password,
    small::read_small,
    terminal::plain,
};

/// What is collected, and how it is sealed; `triage` has the same options.
#[derive(clap::Args, Debug)]
pub struct Choices {
    /// What to take: minimal, triage, full, everything, or TOML files of your own
    #[arg(long, value_name = "NAME|FILE[,…]", default_value = "triage")]
    pub profile: String,
    /// The label of all that is collected: clear, green, amber, amber+strict, red; required
    /// unless a profile of your own sets it, to amber or stricter
    #[arg(long, value_name = "LABEL")]
    pub tlp: Option<Tlp>,
    /// The case that the bundle belongs to
    #[arg(long)]
    pub case: Option<String>,
    /// Who collects
    #[arg(long)]
    pub operator: Option<String>,
    /// The incident record (`scelle incident new` makes one), to be sealed with the evidence
    #[arg(long, value_name = "FILE")]
    pub incident: Option<PathBuf>,
    /// Sign with this OpenPGP secret key instead of a key made for this run; its password, if
    /// it has one, is that of SCELLE_KEY_PASSWORD, or is asked for on the terminal
    #[arg(long, value_name = "KEY")]
    pub sign_with: Option<PathBuf>,
    /// The certificate of that key, with what others certified of it; it travels in the bundle
    #[arg(long, value_name = "CERT.asc", requires = "sign_with")]
    pub certificate: Option<PathBuf>,
    /// Have this RFC 3161 service (http://…) state the time of the seal; it sees a hash, and a
    /// service that does not answer keeps nothing from being sealed
    #[arg(long, value_name = "URL")]
    pub timestamp: Option<String>,
    /// How evidence is compressed; `unzip` can't read zstd
    #[arg(long, value_enum, default_value_t = CompressionName::Deflate)]
    pub compression: CompressionName,
    /// Take no more than this in all, the most important first: 500MiB, 20G
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub max_size: Option<u64>,
    /// Take no file larger than this
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub max_file: Option<u64>,
    /// Take what fits of every shadow copy too: as often as there are such copies
    #[arg(long)]
    pub shadow_copies: bool,
    /// Write even onto the volume that is collected, over what may be evidence
    #[arg(long)]
    pub allow_source_volume: bool,
    /// Replace an existing output
    #[arg(long)]
    pub force: bool,
    /// Whom it is encrypted for.
    #[command(flatten)]
    pub recipients: RecipientArgs,
    /// What opens a source of which something is encrypted.
    #[command(flatten)]
    pub open: OpenArgs,
}

/// How evidence is compressed.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompressionName {
    /// What every tool reads
    Deflate,
    /// Faster and smaller; method 93
    Zstd,
    /// Not at all
    Store,
}

impl Choices {
    /// Opens what is collected, its shadow copies among the volumes where they are asked for. What is mounted in a folder and
    /// takes one of the outputs is left out.
    ///
    /// # Errors
    /// Where it can't be opened.
    pub fn open(
        &self,
        source: &Path,
        outputs: Vec<PathBuf>,
        terminal: &Terminal,
    ) -> Result<Source> {
        if !self.allow_source_volume {
            let or = "write to one that need not be collected";
            tell_left_out(source, &outputs, or, terminal);
        }
        let options = OpenOptions {
            // Who insists has all of it collected.
            left_out: if self.allow_source_volume {
                Vec::new()
            } else {
                outputs
            },
            ..OpenOptions::default()
        };
        let source = self.open.open_with(source, &options)?;
        Ok(if self.shadow_copies {
            source.with_shadow_copies()
        } else {
            source
        })
    }

    /// The label that was asked for, or that a profile sets.
    ///
    /// # Errors
    /// Where there is neither, or the profile's is freer than `TLP:AMBER`: none is chosen silently.
    pub fn label(&self, profile: &Profile) -> Result<Tlp> {
        match (self.tlp, profile.tlp) {
            (Some(tlp), _) => Ok(tlp),
            (None, Some(tlp)) if tlp < Tlp::Amber => bail!(
                "the profile {} would label what nobody has looked at yet {tlp}: say --tlp {tlp} if \
                 that is meant, or set TLP:AMBER or stricter in it",
                profile.name
            ),
            (None, Some(tlp)) => Ok(tlp),
            (None, None) => bail!(
                "no label: say who may see this evidence with --tlp clear, green, amber, \
                 amber+strict or red (or set `tlp` in a profile of your own)"
            ),
        }
    }

    /// The service that dates the seal, where one was named. It is no value that clap reads: what that refuses it shows,
    /// and people write passwords into addresses.
    ///
    /// # Errors
    /// Where the address is none that is asked.
    pub fn time_service(&self) -> Result<Option<StampService>> {
        let service = self.timestamp.as_deref().map(str::parse::<StampService>);
        service.transpose().context("--timestamp")
    }

    /// Plans what the profile asks for.
    pub fn plan(&self, source: &Source, profile: Profile, progress: &Progress) -> Plan {
        let limits = Limits {
            max_file_bytes: self.max_file,
            max_total_bytes: self.max_size,
        };
        Plan::new(source.evidence(), profile, limits, progress)
    }

    /// Refuses an output that exists, or that lies on the source.
    ///
    /// # Errors
    /// Where it does.
    pub fn check_output(&self, source: &Path, output: &Path) -> Result<()> {
        refuse_existing(output, self.force)?;
        if self.allow_source_volume {
            return Ok(());
        }
        let or = "write elsewhere, or insist with --allow-source-volume";
        refuse_on_source(source, output, or)
    }

    /// The incident record as it is sealed. What it lacks is said and keeps no evidence from being collected; a
    /// bundle with a freer label than the record's is refused.
    pub(crate) fn incident(&self, tlp: Tlp, terminal: &Terminal) -> Result<Option<Vec<u8>>> {
        let Some(path) = &self.incident else {
            return Ok(None);
        };
        let reading = || format!("reading the incident record {}", path.display());
        let bytes = read_small(path).with_context(reading)?;
        let incident = Incident::read(&bytes).with_context(reading)?;
        for gap in incident.gaps() {
            terminal.warn(format!(
                "{}: {}: {}",
                path.display(),
                gap.element,
                plain(&gap.message(Language::English))
            ));
        }
        StateArgs::stated(tlp).carry(&Inputs::incident(path, &incident))?;
        Ok(Some(incident.to_json()))
    }

    /// The operator's own key, where one was named.
    ///
    /// # Errors
    /// Where it can't be read or used.
    pub fn seal_key(&self) -> Result<Option<SealKey>> {
        let Some(path) = &self.sign_with else {
            return Ok(None);
        };
        password::read_certified_key(path, self.certificate.as_deref()).map(Some)
    }
}

impl From<CompressionName> for Compression {
    fn from(name: CompressionName) -> Self {
        match name {
            CompressionName::Deflate => Self::Deflate,
            CompressionName::Zstd => Self::Zstd,
            CompressionName::Store => Self::Store,
        }
    }
}
