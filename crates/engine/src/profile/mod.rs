//! Profiles: what to collect, as data.
//!
//! A profile is a TOML file. The built-in ones are `crates/engine/profiles/*.toml`; a team
//! writes its own beside them, and may extend the built-in ones.

mod matcher;
mod pattern;
mod size;

use std::{fs, io, path::Path};

use scelle_event::{EvidencePath, Tlp};
use serde::{Deserialize, Serialize};

pub(crate) use matcher::{Matcher, RuleNumber};
pub(crate) use pattern::Pattern;
pub use size::{parse_size, show_size};

/// The built-in profiles, from the least to the most, each with its TOML text.
pub const BUILT_IN: [(&str, &str); 4] = [
    ("minimal", include_str!("../../profiles/minimal.toml")),
    ("triage", include_str!("../../profiles/triage.toml")),
    ("full", include_str!("../../profiles/full.toml")),
    ("everything", include_str!("../../profiles/everything.toml")),
];

/// A profile that is larger is no profile.
const MAX_PROFILE_BYTES: u64 = 4 << 20;
/// A chain of `extends` that is longer is a mistake.
const MAX_DEPTH: usize = 8;

/// What to collect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Its name; those of several profiles taken together are joined by `+`.
    pub name: String,
    /// What it is for, in one sentence.
    pub summary: String,
    /// The label that a team gives to all that it collects so.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "as_name",
        deserialize_with = "from_name"
    )]
    pub tlp: Option<Tlp>,
    /// Limits on sizes.
    pub limits: Limits,
    /// What is asked for, in the order in which it is taken.
    pub targets: Vec<Target>,
}

/// Limits on sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// No stream larger than this is taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_file_bytes: Option<u64>,
    /// Nothing more is taken once this much is planned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_total_bytes: Option<u64>,
}

/// One thing that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Its name in the ledger.
    pub id: String,
    /// What it is, in a few words.
    pub summary: String,
    /// Path patterns, from a volume's root.
    pub paths: Vec<String>,
    /// Endings that are asked for besides each path: logs, write-ahead logs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub siblings: Vec<String>,
    /// No stream larger than this is taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_file_bytes: Option<u64>,
    /// Whether it asks for deleted entries, and only for them.
    pub deleted: bool,
    /// Whether it is taken only where a profile names it under `opt_in`.
    pub opt_in: bool,
    /// Why this version can't take it; the ledger says so of each pattern.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_out: Option<String>,
}

/// Why a profile can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// Neither a built-in profile nor a file.
    #[error(
        "there is no built-in profile and no file named {0:?}; built in are minimal, triage, full and everything"
    )]
    Unknown(String),
    /// The file can't be read.
    #[error("reading the profile {name}: {source}")]
    Io {
        /// Which profile.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// The text is no profile.
    #[error("the profile {name} is not valid TOML of a profile: {why}")]
    Syntax {
        /// Which profile.
        name: String,
        /// What the reader said, with the line.
        why: String,
    },
    /// A part of it makes no sense.
    #[error("the profile {name}: {what}: {why}")]
    Invalid {
        /// Which profile.
        name: String,
        /// Which target, pattern or setting.
        what: String,
        /// What is wrong with it.
        why: String,
    },
}

impl Profile {
    /// A built-in profile by its name, or one of a team's own by its file.
    ///
    /// # Errors
    /// [`ProfileError`], which names the profile and the place.
    pub fn load(name: &str) -> Result<Self, ProfileError> {
        load(name, MAX_DEPTH)
    }

    /// Several profiles as one, in the order of `list` (names or files, commas between them).
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_list(list: &str) -> Result<Self, ProfileError> {
        let mut names = list.split(',').map(str::trim);
        let mut whole = Self::load(names.next().unwrap_or_default())?;
        for name in names {
            let more = Self::load(name)?;
            whole.name = format!("{}+{}", whole.name, more.name);
            whole.tlp = whole.tlp.max(more.tlp);
            whole.limits.tighten(more.limits);
            whole.adopt(more.targets);
        }
        Ok(whole)
    }

    /// A profile from TOML text; `name` is what errors call it.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn parse(name: &str, text: &str) -> Result<Self, ProfileError> {
        parse(name, text, MAX_DEPTH)
    }

    /// Adds targets; one of a known name takes that one's place.
    fn adopt(&mut self, targets: Vec<Target>) {
        for target in targets {
            match self.targets.iter_mut().find(|known| known.id == target.id) {
                Some(known) => *known = target,
                None => self.targets.push(target),
            }
        }
    }

    /// Checks the patterns of a profile that came in another form than a file.
    ///
    /// # Errors
    /// [`ProfileError::Invalid`], which names the pattern.
    pub fn check(&self) -> Result<(), ProfileError> {
        for target in &self.targets {
            for path in target.patterns() {
                Pattern::parse(&path).map_err(|why| ProfileError::Invalid {
                    name: self.name.clone(),
                    what: format!("target {}, pattern {path:?}", target.id),
                    why,
                })?;
            }
        }
        Ok(())
    }
}

impl Limits {
    /// Takes the smaller of each limit.
    pub fn tighten(&mut self, other: Self) {
        let smaller = |one: Option<u64>, two: Option<u64>| match (one, two) {
            (Some(one), Some(two)) => Some(one.min(two)),
            (one, two) => one.or(two),
        };
        self.max_file_bytes = smaller(self.max_file_bytes, other.max_file_bytes);
        self.max_total_bytes = smaller(self.max_total_bytes, other.max_total_bytes);
    }
}

impl Target {
    /// Every pattern, siblings written out, in order: a path, then its siblings.
    pub fn patterns(&self) -> impl Iterator<Item = String> {
        self.paths.iter().flat_map(|path| {
            let siblings = self.siblings.iter().map(move |end| format!("{path}{end}"));
            [path.clone()].into_iter().chain(siblings)
        })
    }
}

/// A single pattern, for whoever picks streams by hand.
#[derive(Debug)]
pub struct Selector(Matcher);

impl Selector {
    /// A selector of what `pattern` asks for; without a stream it takes all streams of a file.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the pattern.
    pub fn new(pattern: &str) -> Result<Self, String> {
        let mut patterns = Pattern::parse(pattern)?;
        if pattern::find_plain(pattern, ':').is_none() {
            patterns.extend(Pattern::parse(&format!("{pattern}:*"))?);
        }
        Ok(Self(Matcher::new(
            patterns.iter().map(|pattern| (0, pattern)),
        )))
    }

    /// Whether a stream fits.
    pub fn fits(&self, path: &EvidencePath, stream: Option<&EvidencePath>) -> bool {
        let stream = stream.map(EvidencePath::as_bytes);
        let hits = self.0.hits(path.components());
        hits.iter().any(|(_, wanted)| wanted.fits(stream))
    }
}

/// How a profile is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    summary: String,
    tlp: Option<String>,
    #[serde(default)]
    extends: Vec<String>,
    /// Of the extended profiles, only these targets.
    only: Option<Vec<String>>,
    /// Of the extended profiles, these opt-in targets too.
    #[serde(default)]
    opt_in: Vec<String>,
    #[serde(default)]
    limits: WrittenLimits,
    #[serde(default)]
    targets: Vec<WrittenTarget>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenLimits {
    max_file: Option<String>,
    max_total: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenTarget {
    id: String,
    summary: String,
    paths: Vec<String>,
    #[serde(default)]
    siblings: Vec<String>,
    max_file: Option<String>,
    #[serde(default)]
    deleted: bool,
    #[serde(default)]
    opt_in: bool,
    left_out: Option<String>,
}

fn load(name: &str, depth: usize) -> Result<Profile, ProfileError> {
    if let Some((name, text)) = BUILT_IN.iter().find(|(known, _)| *known == name) {
        return parse(name, text, depth);
    }
    let path = Path::new(name);
    let io = |source| ProfileError::Io {
        name: name.to_owned(),
        source,
    };
    let size = match fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(ProfileError::Unknown(name.to_owned()));
        }
        Err(error) => return Err(io(error)),
    };
    if size > MAX_PROFILE_BYTES {
        return Err(io(io::Error::other(format!(
            "{size} bytes are more than a profile can have ({MAX_PROFILE_BYTES})"
        ))));
    }
    parse(name, &fs::read_to_string(path).map_err(io)?, depth)
}

fn parse(name: &str, text: &str, depth: usize) -> Result<Profile, ProfileError> {
    let written: Written = toml::from_str(text).map_err(|error| ProfileError::Syntax {
        name: name.to_owned(),
        why: error.to_string().trim_end().to_owned(),
    })?;
    let invalid = |what: &str, why: String| ProfileError::Invalid {
        name: name.to_owned(),
        what: what.to_owned(),
        why,
    };
    let size = |what: &str, text: &Option<String>| {
        let parsed = text.as_deref().map(parse_size).transpose();
        parsed.map_err(|why| invalid(what, why))
    };
    let tlp = written.tlp.as_deref().map(str::parse).transpose();
    let mut profile = Profile {
        name: written.name,
        summary: written.summary,
        tlp: tlp.map_err(|error: scelle_event::ParseTlpError| invalid("tlp", error.to_string()))?,
        limits: Limits {
            max_file_bytes: size("limits.max_file", &written.limits.max_file)?,
            max_total_bytes: size("limits.max_total", &written.limits.max_total)?,
        },
        targets: Vec::new(),
    };
    for base in &written.extends {
        let deeper = depth.checked_sub(1).ok_or_else(|| {
            invalid(
                "extends",
                format!("profiles extend each other more than {MAX_DEPTH} deep"),
            )
        })?;
        let base = load(base, deeper)?;
        profile.tlp = profile.tlp.max(base.tlp);
        profile.limits.tighten(base.limits);
        profile.adopt(base.targets);
    }
    let known = |profile: &Profile, what: &str, ids: &[String]| match ids
        .iter()
        .find(|id| !profile.targets.iter().any(|target| target.id == **id))
    {
        Some(id) => Err(invalid(
            what,
            format!("no extended profile has a target {id:?}"),
        )),
        None => Ok(()),
    };
    if let Some(only) = &written.only {
        known(&profile, "only", only)?;
        profile.targets.retain(|target| only.contains(&target.id));
    }
    known(&profile, "opt_in", &written.opt_in)?;
    for target in &mut profile.targets {
        target.opt_in &= !written.opt_in.contains(&target.id);
    }
    let mut own = Vec::with_capacity(written.targets.len());
    for target in written.targets {
        let max_file_bytes = size(&format!("target {}", target.id), &target.max_file)?;
        own.push(Target {
            id: target.id,
            summary: target.summary,
            paths: target.paths,
            siblings: target.siblings,
            max_file_bytes,
            deleted: target.deleted,
            opt_in: target.opt_in,
            left_out: target.left_out,
        });
    }
    profile.adopt(own);
    profile.check()?;
    Ok(profile)
}

#[expect(
    clippy::ref_option,
    reason = "serde hands the field over as a reference"
)]
fn as_name<S: serde::Serializer>(tlp: &Option<Tlp>, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_str(tlp.map_or("", Tlp::name))
}

fn from_name<'a, D: serde::Deserializer<'a>>(input: D) -> Result<Option<Tlp>, D::Error> {
    let name = Option::<String>::deserialize(input)?;
    name.map(|name| name.parse().map_err(serde::de::Error::custom))
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_profiles_are_sound() {
        for (name, _) in BUILT_IN {
            let profile = Profile::load(name).expect("a sound profile");
            assert_eq!(profile.name, name);
            assert!(!profile.targets.is_empty());
            for target in &profile.targets {
                assert!(target.patterns().count() > 0, "{name}: {}", target.id);
            }
        }
    }

    #[test]
    fn profiles_extend_each_other() {
        let minimal = Profile::load("minimal").expect("sound");
        let triage = Profile::load("triage").expect("sound");
        let full = Profile::load("full").expect("sound");
        for target in &minimal.targets {
            assert!(triage.targets.contains(target), "{}", target.id);
        }
        for target in &triage.targets {
            assert!(full.targets.contains(target), "{}", target.id);
        }
        let own = Profile::parse(
            "own",
            r#"
            name = "own"
            summary = "A team's."
            tlp = "TLP:AMBER"
            extends = ["full"]
            only = ["directory-database", "prefetch"]
            opt_in = ["directory-database"]
            [limits]
            max_total = "2 GiB"
            [[targets]]
            id = "prefetch"
            summary = "Two of them"
            paths = ["Windows/Prefetch/{A,B}*.pf"]
            "#,
        )
        .expect("sound");
        assert_eq!(own.tlp, Some(Tlp::Amber));
        assert_eq!(own.limits.max_total_bytes, Some(2 << 30));
        let ids: Vec<_> = own.targets.iter().map(|one| one.id.as_str()).collect();
        assert_eq!(ids, ["prefetch", "directory-database"]);
        assert!(!own.targets[1].opt_in);
        assert_eq!(own.targets[0].summary, "Two of them");
    }

    #[test]
    fn errors_name_the_place() {
        let cases = [
            ("name = 1", "not valid TOML"),
            ("name=\"x\"\nsummary=\"\"\nlimit=1", "limit"),
            (
                "name=\"x\"\nsummary=\"\"\n[[targets]]\nid=\"t\"\nsummary=\"\"\npaths=[\"/x\"]",
                "target t, pattern \"/x\"",
            ),
            (
                "name=\"x\"\nsummary=\"\"\nextends=[\"triage\"]\nonly=[\"nothing\"]",
                "nothing",
            ),
            ("name=\"x\"\nsummary=\"\"\ntlp=\"WHITE\"", "TLP:CLEAR"),
        ];
        for (text, named) in cases {
            let error = Profile::parse("own", text).expect_err(text).to_string();
            assert!(error.contains(named), "{error}");
        }
        assert!(matches!(
            Profile::load("no-such-profile"),
            Err(ProfileError::Unknown(_))
        ));
    }
}
