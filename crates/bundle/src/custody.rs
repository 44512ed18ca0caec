//! The chain of custody: who had a bundle, what they did with it, when and why.
//!
//! # Form
//! JSON lines in a file of their own. A line is one object in one form (no blanks, members in the order of `Body`)
//! whose last member, `signature`, is an OpenPGP signature packet in base64, over the line up to it, closed by `}`.
//! `previous` is the BLAKE3 of the line before without its line end, of the first line the bundle's root. Each line brings
//! the certificate of its key, so that it can be checked alone.
//! # Damage
//! Each line is checked for itself first, so that one altered line does not hide the others; then its place.
//! # Bounds
//! A line has at most 64 KiB, a file 64 MiB.
//! # Clocks
//! Of a line with a time more than a day ahead of the reader's clock nobody can tell whether its key was good when it signed, and so
//! nobody vouches for it until that time has come. The chain is no less whole, and goes on: one wrong clock does not end it. A line
//! is not dated before the last line that was not ahead when it was added.
//! # What can't be known
//! Whether lines were cut off the end: what is left is a whole, shorter chain. Who wrote down the hash of a line
//! (`head`) finds that it is missing.

use std::{
    collections::HashMap,
    fmt,
    io::{self, BufRead, Read as _},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    Certificate, Error, SealKey, Signer,
    armour::{armour, base64, dearmour, unbase64},
    text::{hex, written_hash},
};

const FORMAT: u32 = 1;
const LINE_LIMIT: usize = 64 << 10;
const FILE_LIMIT: u64 = 64 << 20;
/// A text that a person writes into a line, in bytes.
const TEXT_LIMIT: usize = 4 << 10;
/// More problems than this are counted and not kept.
const MOST_PROBLEMS: usize = 1_000;
/// How far ahead of the reader's clock a line's times may be: clocks differ.
const AHEAD_SECONDS: i64 = 24 * 60 * 60;
const SIGNATURE: &str = ",\"signature\":\"";

/// What was done with a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CustodyAction {
    /// Somebody took it over.
    Received,
    /// It was brought or sent elsewhere.
    Moved,
    /// It was read.
    Opened,
    /// Something was made of it that leaves.
    Exported,
    /// Another copy of it was made.
    Copied,
    /// It was given back.
    Returned,
    /// It was destroyed.
    Destroyed,
}

impl CustodyAction {
    /// Its name in a line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Moved => "moved",
            Self::Opened => "opened",
            Self::Exported => "exported",
            Self::Copied => "copied",
            Self::Returned => "returned",
            Self::Destroyed => "destroyed",
        }
    }
}

/// What somebody did, in their own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deed {
    /// When, as ISO 8601 with an offset, and with the zone's name where it has one.
    pub time: String,
    /// What.
    pub action: CustodyAction,
    /// Who.
    pub by: String,
    /// Where, or from where to where.
    pub place: Option<String>,
    /// Why.
    pub why: String,
}

/// A line without its signature.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    custody: u32,
    number: u64,
    bundle: String,
    root: String,
    previous: String,
    time: String,
    action: CustodyAction,
    by: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    place: Option<String>,
    why: String,
    key: String,
    certificate: String,
}

/// A line whose signature is sound.
#[derive(Clone, Debug)]
pub struct CustodyLine {
    /// Where it stands in the file, from 1.
    pub line: u64,
    /// Its own number, from 1.
    pub number: u64,
    /// The bundle's name.
    pub bundle: String,
    /// The bundle's root.
    pub root: String,
    /// What it says.
    pub deed: Deed,
    /// Whose key signed it.
    pub signer: Signer,
    /// When it was signed, by the signer's clock, in seconds since 1970.
    pub signed_at: u32,
    /// The BLAKE3 of the line, in hex.
    pub hash: String,
    /// Whether a trusted certificate vouches for the key, or why none does; `None` where none was named.
    pub vouched: Option<Result<(), Vec<String>>>,
    /// What says that a time of the line is more than a day ahead of the reader's clock; nobody can vouch for it then.
    pub ahead: Option<String>,
    previous: String,
}

/// Something that is wrong with a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustodyProblem {
    /// The line that it is about, from 1; none where it is about the file.
    pub line: Option<u64>,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for CustodyProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

/// What a chain is held against.
#[derive(Clone, Default)]
pub struct CustodyOptions {
    /// The bundle's root, in hex; else the first line's is taken.
    pub root: Option<String>,
    /// The hash of a line that somebody wrote down: it must be there.
    pub head: Option<String>,
    /// Certificates that may vouch for the signers.
    pub trust: Vec<Certificate>,
    /// Certificates, or newer copies of them, in which revocations stand. They vouch for nobody.
    pub revocations: Vec<Certificate>,
    /// What the times of lines are held against; else this system's clock says it.
    pub now: Option<Timestamp>,
}

/// A chain of custody that was read.
#[derive(Default)]
pub struct Custody {
    /// The lines whose signatures are sound, in the order of the file.
    pub lines: Vec<CustodyLine>,
    /// What is wrong; empty where nothing is.
    pub problems: Vec<CustodyProblem>,
    root: Option<String>,
    more_problems: u64,
}

impl Custody {
    /// Reads and checks a chain.
    ///
    /// # Errors
    /// What reading the file answers. What is wrong with it stands in [`problems`](Self::problems).
    pub fn read(file: impl BufRead, options: &CustodyOptions) -> io::Result<Self> {
        let mut chain = Self {
            root: options.root.clone(),
            ..Self::default()
        };
        let now = options.now.unwrap_or_else(Timestamp::now);
        let mut places = Places::default();
        let mut file = file.take(FILE_LIMIT + 1);
        let mut number = 0;
        // When the last line that somebody vouches for was signed: those behind it are no older.
        let mut since = 0;
        let mut text = Vec::new();
        while read_line(&mut file, &mut text)? {
            number += 1;
            if file.limit() == 0 {
                chain.wrong(
                    None,
                    format!("it has more than {FILE_LIMIT} bytes: the rest was not read"),
                );
                break;
            }
            match check_line(number, &text, options, since) {
                Ok(mut line) => {
                    line.ahead = line.ahead_of(now);
                    if let Some(what) = &line.ahead {
                        line.vouched = line.vouched.map(|_| Err(vec![what.clone()]));
                    } else if line.vouched == Some(Ok(())) {
                        since = since.max(line.signed_at);
                    }
                    for what in places.place(&line, chain.root.as_deref()) {
                        chain.wrong(Some(number), what);
                    }
                    chain.root.get_or_insert_with(|| line.root.clone());
                    chain.lines.push(line);
                }
                Err(what) => {
                    places.unsound += 1;
                    chain.wrong(Some(number), what);
                }
            }
        }
        if number == 0 {
            chain.wrong(None, "there is no line in it".to_owned());
        }
        chain.check_head(options);
        if chain.more_problems > 0 {
            let what = format!("{} more problems", chain.more_problems);
            chain.problems.push(CustodyProblem { line: None, what });
        }
        Ok(chain)
    }

    /// The root that the chain is about.
    pub fn root(&self) -> Option<&str> {
        self.root.as_deref()
    }

    /// Says that the chain is about the bundle with that root: what a first line needs.
    pub fn about(&mut self, root: String) {
        self.root = Some(root);
    }

    /// The line that says so, with its line end, to be put behind the others.
    ///
    /// # Errors
    /// [`Error::Format`] where something is wrong with the chain, a text is blank or too long, or the time is none with an
    /// offset; [`Error::Key`] where the key can't sign.
    pub fn next_line(&self, bundle: &str, deed: Deed, key: &SealKey) -> Result<String, Error> {
        if let Some(problem) = self.problems.first() {
            return Err(Error::format(format!(
                "nothing is added to a chain that is not whole: {problem}"
            )));
        }
        let root = self
            .root
            .clone()
            .ok_or_else(|| Error::format("the bundle's root is not known"))?;
        deed.check().map_err(Error::Format)?;
        let last = self.lines.last();
        let body = Body {
            custody: FORMAT,
            number: last.map_or(0, |line| line.number) + 1,
            bundle: bundle.to_owned(),
            previous: last.map_or_else(|| root.clone(), |line| line.hash.clone()),
            root,
            time: deed.time,
            action: deed.action,
            by: deed.by,
            place: deed.place,
            why: deed.why,
            key: key.fingerprint(),
            certificate: base64(&key.public().packets()?),
        };
        let body = body_text(&body);
        // A clock that was set back makes no line that is older than the one before it; one that ran ahead is not followed.
        let mut earlier = self.lines.iter().rev();
        let not_before = earlier
            .find(|line| line.ahead.is_none())
            .map_or(0, |line| line.signed_at);
        let file = key.clone().not_before(not_before).sign(body.as_bytes())?;
        let packet = dearmour(file.as_bytes()).map_err(Error::Format)?;
        let open = body.strip_suffix('}').unwrap_or(&body);
        let line = format!("{open}{SIGNATURE}{}\"}}\n", base64(&packet));
        if line.len() > LINE_LIMIT {
            return Err(Error::format(format!(
                "the line would have {} bytes, and {LINE_LIMIT} is the most: shorten the texts, or the certificate",
                line.len()
            )));
        }
        let number = self.lines.len() as u64 + 1;
        check_line(number, line.as_bytes(), &CustodyOptions::default(), 0)
            .and_then(|line| line.ahead_of(Timestamp::now()).map_or(Ok(()), Err))
            .map_err(|what| Error::format(format!("the line would not be good: {what}")))?;
        Ok(line)
    }

    fn check_head(&mut self, options: &CustodyOptions) {
        let Some(head) = &options.head else { return };
        let Some(wanted) = written_hash(head) else {
            return self.wrong(
                None,
                format!("{head:?} is no hash of a line: it has 64 hex digits"),
            );
        };
        if !self.lines.iter().any(|line| line.hash == wanted) {
            self.wrong(
                None,
                format!("the line {wanted}, which was written down, is not there: lines were cut off or altered"),
            );
        }
    }

    fn wrong(&mut self, line: Option<u64>, what: String) {
        if self.problems.len() < MOST_PROBLEMS {
            // A parser's message may quote what a hostile line says.
            let plain = |one: char| if one.is_control() { '\u{FFFD}' } else { one };
            let what = what.chars().map(plain).collect();
            self.problems.push(CustodyProblem { line, what });
        } else {
            self.more_problems += 1;
        }
    }
}

impl CustodyLine {
    /// What says that a time of it lies ahead, when it is `now`.
    fn ahead_of(&self, now: Timestamp) -> Option<String> {
        let signed = Timestamp::from_second(self.signed_at.into()).ok();
        let done = self.deed.time.parse().ok();
        let mut times = [("signed", signed), ("done", done)].into_iter();
        times.find_map(|(what, time)| {
            let time = time.filter(|time| is_ahead(*time, now))?;
            Some(format!(
                "it says that it was {what} at {time}, and this clock says {now:.0}: a clock was \
                 wrong, or somebody chose that time, so nobody can tell whether its key was good \
                 then"
            ))
        })
    }
}

/// Whether a time is further ahead than clocks may differ.
fn is_ahead(time: Timestamp, now: Timestamp) -> bool {
    time.as_second().saturating_sub(now.as_second()) > AHEAD_SECONDS
}

impl Deed {
    fn check(&self) -> Result<(), String> {
        for (name, text) in [
            ("who", Some(&self.by)),
            ("where", self.place.as_ref()),
            ("why", Some(&self.why)),
        ] {
            let Some(text) = text else { continue };
            if text.trim().is_empty() {
                return Err(format!("it does not say {name}"));
            }
            if text.len() > TEXT_LIMIT {
                return Err(format!(
                    "what it says of {name} has more than {TEXT_LIMIT} bytes"
                ));
            }
        }
        match self.time.parse::<Timestamp>() {
            Ok(_) => Ok(()),
            Err(error) => Err(format!(
                "its time {:?} is none with a zone, as in 2024-06-03T10:00:00+02:00: {error}",
                self.time
            )),
        }
    }
}

/// Checks what a line says of itself, and its signature.
fn check_line(
    line: u64,
    text: &[u8],
    options: &CustodyOptions,
    since: u32,
) -> Result<CustodyLine, String> {
    let text = text
        .strip_suffix(b"\n")
        .ok_or("it is cut: it has no line end, or more than 64 KiB")?;
    let hash = hex(blake3::hash(text).as_bytes());
    let text = str::from_utf8(text).map_err(|_| "it is no text")?;
    let (open, signature) = text
        .strip_suffix("\"}")
        .and_then(|text| text.rsplit_once(SIGNATURE))
        .ok_or("it has no signature at its end")?;
    let signed = format!("{open}}}");
    let body: Body = serde_json::from_str(&signed)
        .map_err(|error| format!("it is no line of a chain of custody: {error}"))?;
    if body.custody != FORMAT {
        return Err(format!("its format {} is not known here", body.custody));
    }
    if body_text(&body) != signed {
        return Err("it is not in the one form: it was altered".into());
    }
    let packet = unbase64(signature)
        .filter(|packet| base64(packet) == signature)
        .ok_or("its signature is not in the one form: it was altered")?;
    let certificate = unbase64(&body.certificate)
        .ok_or_else(|| "it is no base64".to_owned())
        .and_then(|bytes| Certificate::read(&bytes).map_err(|error| error.to_string()))
        .map_err(|what| format!("its certificate can't be read: {what}"))?;
    if certificate.fingerprint() != body.key {
        return Err("its certificate is another key's than the one that it names".into());
    }
    let signed_at = certificate
        .check(signed.as_bytes(), armour(&packet).as_bytes())
        .map_err(|what| format!("it was altered, or is not by {}: {what}", body.key))?;
    let deed = Deed {
        time: body.time,
        action: body.action,
        by: body.by,
        place: body.place,
        why: body.why,
    };
    deed.check()?;
    Ok(CustodyLine {
        line,
        number: body.number,
        bundle: body.bundle,
        root: body.root,
        deed,
        signer: Signer {
            fingerprint: certificate.fingerprint(),
            user_id: certificate.user_id(),
        },
        signed_at,
        hash,
        vouched: (!options.trust.is_empty()).then(|| {
            // It was signed behind the lines before it, whatever it says.
            let at = signed_at.max(since);
            certificate.check_vouched(&options.trust, &options.revocations, at)
        }),
        ahead: None,
        previous: body.previous,
    })
}

/// Where sound lines stand, by their numbers.
#[derive(Default)]
struct Places {
    /// Line in the file and hash of each number.
    seen: HashMap<u64, (u64, String)>,
    highest: u64,
    /// Lines that are not sound since the last one that is.
    unsound: u64,
}

impl Places {
    /// What is wrong with a sound line's place.
    fn place(&mut self, line: &CustodyLine, root: Option<&str>) -> Vec<String> {
        let mut wrong = Vec::new();
        let number = line.number;
        if let Some(root) = root.filter(|root| *root != line.root) {
            wrong.push(format!(
                "it is about another bundle: its root is {}, and not {root}",
                line.root
            ));
        }
        if let Some((first, _)) = self.seen.get(&number) {
            wrong.push(format!(
                "it is number {number}, as line {first} is: one of them was added"
            ));
            return wrong;
        }
        let expected = self.highest.saturating_add(1);
        if number < expected {
            wrong.push(format!(
                "it is number {number} and stands behind number {}: lines were reordered",
                self.highest
            ));
        } else if number - expected > self.unsound {
            wrong.push(match number - expected - self.unsound {
                1 if self.unsound == 0 => format!("number {expected} is missing before it: it was dropped"),
                count => format!(
                    "it is number {number}, so {count} of the numbers from {expected} on are missing before it: \
                     they were dropped"
                ),
            });
        }
        let before = match number {
            0 => {
                wrong.push("its number is 0, and the first is 1".to_owned());
                None
            }
            1 => Some((0, &line.root)),
            _ => self
                .seen
                .get(&(number - 1))
                .map(|(line, hash)| (*line, hash)),
        };
        match before {
            Some((0, root)) if *root != line.previous => {
                wrong.push("it does not begin with the bundle's root".to_owned());
            }
            Some((before, hash)) if before > 0 && *hash != line.previous => wrong.push(format!(
                "it follows another number {} than line {before}: that line was replaced",
                number - 1
            )),
            _ => {}
        }
        self.seen.insert(number, (line.line, line.hash.clone()));
        self.highest = self.highest.max(number);
        self.unsound = 0;
        wrong
    }
}

/// The one text of a body.
fn body_text(body: &Body) -> String {
    serde_json::to_string(body).expect("a body is plain data")
}

/// Reads a line with its end; of one that is too long the rest is passed over. `false` at the end.
fn read_line(file: &mut io::Take<impl BufRead>, text: &mut Vec<u8>) -> io::Result<bool> {
    text.clear();
    file.by_ref()
        .take(LINE_LIMIT as u64)
        .read_until(b'\n', text)?;
    if text.is_empty() {
        return Ok(false);
    }
    if text.len() == LINE_LIMIT && text.last() != Some(&b'\n') {
        skip_line(file)?;
    }
    Ok(true)
}

fn skip_line(file: &mut impl BufRead) -> io::Result<()> {
    loop {
        let have = file.fill_buf()?;
        if have.is_empty() {
            return Ok(());
        }
        match memchr::memchr(b'\n', have) {
            Some(end) => {
                file.consume(end + 1);
                return Ok(());
            }
            None => {
                let all = have.len();
                file.consume(all);
            }
        }
    }
}
