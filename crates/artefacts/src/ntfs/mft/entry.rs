//! An MFT entry, gathered from its base record and its extension records.

use std::{borrow::Cow, fmt, ops::Range};

use scelle_event::{
    Fields, FileLine, Meaning, Nested, Precision, Record, Schema, Stamp, Tree, UtcNanos, Value,
};
use scelle_formats::{
    guid_text,
    ntfs::{kind, paths},
};

use super::{
    super::finding::{Findings, is_whole_second},
    Known, schema, words,
};

/// The four times that `$STANDARD_INFORMATION` and each `$FILE_NAME` hold, FILETIME.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) created: u64,
    pub(super) modified: u64,
    pub(super) changed: u64,
    pub(super) accessed: u64,
}

impl Times {
    fn meanings(self) -> [(u64, Meaning); 4] {
        [
            (self.created, Meaning::Created),
            (self.modified, Meaning::Modified),
            (self.changed, Meaning::Changed),
            (self.accessed, Meaning::Accessed),
        ]
    }

    /// In the order of a body file.
    fn body(self) -> [Option<UtcNanos>; 4] {
        [self.accessed, self.modified, self.changed, self.created]
            .map(|ticks| (ticks != 0).then(|| UtcNanos::from_filetime(ticks)))
    }
}

/// `$STANDARD_INFORMATION`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Standard {
    pub(super) times: Times,
    pub(super) attributes: u32,
    pub(super) owner_id: u32,
    pub(super) security_id: u32,
    pub(super) usn: u64,
}

/// One `$FILE_NAME`. Texts are ranges of [`Entry::text`].
#[derive(Clone, Debug)]
pub(super) struct Name {
    pub(super) parent: u64,
    pub(super) namespace: u8,
    pub(super) times: Times,
    pub(super) attribute_id: u16,
    pub(super) value_bytes: u32,
    /// Whether an extension record holds it.
    pub(super) foreign: bool,
    pub(super) text: Range<usize>,
    /// The name's WTF-8 bytes, in [`Entry::exact`].
    pub(super) exact: Range<usize>,
    /// `None` for the 8.3 alias of another name, which is no path of its own.
    pub(super) path: Option<Range<usize>>,
    pub(super) orphan: bool,
}

/// A `$DATA` stream or an index root.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    /// `kind::DATA` or `kind::INDEX_ROOT`.
    pub(super) kind: u32,
    pub(super) attribute_id: u16,
    /// Whether an extension record holds it.
    pub(super) foreign: bool,
    /// Empty for the unnamed stream and for the index of file names.
    pub(super) name: Range<usize>,
    pub(super) size_bytes: u64,
    /// `None` where the stream is resident.
    pub(super) allocated_bytes: Option<u64>,
    pub(super) storage: u16,
}

/// An entry; one is filled again and again, so that a record allocates nothing.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) reference: u64,
    pub(super) base: Option<u64>,
    pub(super) in_use: bool,
    pub(super) directory: bool,
    pub(super) link_count: u16,
    pub(super) lsn: u64,
    pub(super) standard: Option<Standard>,
    pub(super) names: Vec<Name>,
    /// Which of `names` is the best one.
    pub(super) best: Option<usize>,
    /// Path of an entry without a name.
    pub(super) nameless_path: Range<usize>,
    pub(super) streams: Vec<Stream>,
    pub(super) reparse_tag: Option<u32>,
    pub(super) reparse_target: Option<Range<usize>>,
    pub(super) object_id: Option<[u8; 16]>,
    pub(super) findings: Findings,
    pub(super) text: String,
    /// Names as they stand, WTF-8.
    pub(super) exact: Vec<u8>,
    /// The largest id of an attribute of the base record.
    pub(super) last_attribute_id: u16,
    /// Records that the attribute list names, and that are no part of the entry.
    pub(super) missing: Vec<u64>,
}

/// How much an [`Entry`] held at some moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    names: usize,
    streams: usize,
    text: usize,
    exact: usize,
    missing: usize,
}

impl Entry {
    /// Empties it for the next record.
    pub(super) fn clear(&mut self) {
        let Self {
            names,
            streams,
            text,
            exact,
            missing,
            ..
        } = std::mem::take(self);
        self.names = names;
        self.streams = streams;
        self.text = text;
        self.exact = exact;
        self.missing = missing;
        self.names.clear();
        self.streams.clear();
        self.text.clear();
        self.exact.clear();
        self.missing.clear();
    }

    /// How much it holds.
    pub(super) fn mark(&self) -> Mark {
        Mark {
            names: self.names.len(),
            streams: self.streams.len(),
            text: self.text.len(),
            exact: self.exact.len(),
            missing: self.missing.len(),
        }
    }

    /// Takes back the lists that grew since.
    pub(super) fn rewind(&mut self, mark: Mark) {
        self.names.truncate(mark.names);
        self.streams.truncate(mark.streams);
        self.text.truncate(mark.text);
        self.exact.truncate(mark.exact);
        self.missing.truncate(mark.missing);
    }

    /// Gives the attributes of extension records ids of their own. Those in the records are
    /// unique in each record only; as the Sleuth Kit does, these count on from the base record's.
    pub(super) fn number_foreign_attributes(&mut self) {
        let mut next = self.last_attribute_id;
        let mut number = |id: &mut u16| {
            next = next.wrapping_add(1);
            *id = next;
        };
        for name in self.names.iter_mut().filter(|name| name.foreign) {
            number(&mut name.attribute_id);
        }
        for kind in [kind::DATA, kind::INDEX_ROOT] {
            let streams = self.streams.iter_mut();
            for stream in streams.filter(|stream| stream.foreign && stream.kind == kind) {
                number(&mut stream.attribute_id);
            }
        }
    }

    fn best_name(&self) -> Option<&Name> {
        self.best.and_then(|index| self.names.get(index))
    }

    fn path(&self) -> &str {
        let best = self.best_name().and_then(|name| name.path.clone());
        &self.text[best.unwrap_or_else(|| self.nameless_path.clone())]
    }

    fn data(&self) -> Option<&Stream> {
        self.streams
            .iter()
            .find(|stream| stream.kind == kind::DATA && stream.name.is_empty())
    }

    fn named_streams(&self) -> impl Iterator<Item = &Stream> {
        self.streams
            .iter()
            .filter(|stream| stream.kind == kind::DATA && !stream.name.is_empty())
    }

    /// Which times of some name are later than those of `$STANDARD_INFORMATION`, as bits in the
    /// order of [`Times::meanings`].
    fn later_in_names(&self) -> u8 {
        let Some(standard) = self.standard else {
            return 0;
        };
        let mut later = 0;
        for name in &self.names {
            let pairs = standard
                .times
                .meanings()
                .into_iter()
                .zip(name.times.meanings());
            for (bit, ((si, _), (named, _))) in pairs.enumerate() {
                later |= u8::from(si != 0 && named > si) << bit;
            }
        }
        later
    }

    /// Looks for what speaks against it.
    pub(super) fn look(&mut self, known: &Known) {
        let mut found = Findings::default();
        let times = self.standard.map(|standard| standard.times);
        if let Some(si) = times {
            let is_later = |name: &Name| si.created != 0 && si.created < name.times.created;
            let is_before = self.names.iter().any(is_later);
            found.add(Findings::SI_CREATED_BEFORE_FN, is_before);
            let is_whole = |of: fn(Times) -> u64| {
                let is_of_names = self
                    .names
                    .iter()
                    .any(|name| is_whole_second(of(name.times)));
                is_whole_second(of(si)) && !is_of_names
            };
            let is_whole = is_whole(|times| times.created) || is_whole(|times| times.modified);
            found.add(Findings::SI_ZERO_SUB_SECONDS, is_whole);
            let volume = known.volume_created.unwrap_or(0);
            let is_before = si.created != 0 && si.created < volume;
            found.add(Findings::SI_CREATED_BEFORE_VOLUME, is_before);
        }
        let is_past = |number: u64, end: Option<u64>| end.is_some_and(|end| number >= end);
        found.add(Findings::LSN_PAST_LOG, is_past(self.lsn, known.lsn_end));
        let usn = self.standard.map_or(0, |standard| standard.usn);
        found.add(Findings::USN_PAST_JOURNAL, is_past(usn, known.usn_end));
        self.findings = found;
    }

    /// Every time that it holds.
    pub(super) fn stamps(&self, out: &mut Vec<Stamp>) {
        out.clear();
        let mut add = |times: Times, attribute| {
            for (ticks, meaning) in times.meanings() {
                if let Some(stamp) = Stamp::filetime(ticks, meaning) {
                    out.push(stamp.in_attribute(attribute));
                }
            }
        };
        if let Some(standard) = self.standard {
            add(standard.times, "si");
        }
        for name in &self.names {
            add(name.times, "fn");
        }
    }
}

impl Record for Entry {
    fn schema(&self) -> &'static Schema {
        &schema::ENTRY
    }

    fn fields(&self, out: &mut dyn Fields) {
        let uint = |number: u64| Value::Uint(number);
        let unless_zero = |number: u64| Value::uint((number != 0).then_some(number));
        out.value(uint(paths::entry_of(self.reference)));
        out.value(uint(paths::sequence_of(self.reference).into()));
        out.value(Value::uint(self.base.map(paths::entry_of)));
        let base_sequence = self.base.map(|base| paths::sequence_of(base).into());
        out.value(Value::uint(base_sequence));
        out.value(Value::Bool(self.in_use));
        out.value(Value::Bool(self.directory));
        let name = self.best_name();
        out.value(Value::Bool(name.is_none_or(|name| name.orphan)));
        out.value(Value::Text(self.path()));
        out.value(Value::uint(name.map(|name| paths::entry_of(name.parent))));
        let parent_sequence = name.map(|name| paths::sequence_of(name.parent).into());
        out.value(Value::uint(parent_sequence));
        match name {
            Some(name) => words::namespace(name.namespace, |text| out.value(Value::Text(text))),
            None => out.value(Value::Null),
        }
        out.value(uint(self.link_count.into()));
        let standard = self.standard.unwrap_or_default();
        words::attributes(standard.attributes, |text| out.value(Value::text(text)));
        let times = standard.times;
        for ticks in [times.created, times.modified, times.changed, times.accessed] {
            out.value(Value::filetime(ticks));
        }
        let times = name.map(|name| name.times).unwrap_or_default();
        for ticks in [times.created, times.modified, times.changed, times.accessed] {
            out.value(Value::filetime(ticks));
        }
        words::later(self.later_in_names(), |text| out.value(Value::text(text)));
        let data = self.data();
        out.value(Value::uint(data.map(|data| data.size_bytes)));
        out.value(Value::uint(data.and_then(|data| data.allocated_bytes)));
        out.value(data.map_or(Value::Null, |data| {
            Value::Bool(data.allocated_bytes.is_none())
        }));
        let storage = data.map_or(0, |data| data.storage);
        words::storage(storage, |text| out.value(Value::text(text)));
        let names = Names(self);
        out.value(if self.names.len() > 1 {
            Value::Nested(&names)
        } else {
            Value::Null
        });
        let streams = Streams(self);
        out.value(if self.named_streams().next().is_some() {
            Value::Nested(&streams)
        } else {
            Value::Null
        });
        out.value(uint(self.lsn));
        out.value(unless_zero(standard.owner_id.into()));
        out.value(unless_zero(standard.security_id.into()));
        out.value(unless_zero(standard.usn));
        words::reparse_tag(self.reparse_tag, |text| out.value(Value::text(text)));
        let target = self.reparse_target.clone();
        out.value(Value::text(target.map(|target| &self.text[target])));
        let id = self.object_id.map(guid_text);
        out.value(Value::text(id.as_deref()));
        out.value(Value::text(self.findings.text().as_deref()));
    }

    fn subject(&self) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed(self.path()))
    }

    fn message(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str(match (self.in_use, self.directory) {
            (true, true) => "Directory ",
            (true, false) => "File ",
            (false, true) => "Deleted directory ",
            (false, false) => "Deleted file ",
        })?;
        out.write_str(self.path())?;
        if let Some(data) = self.data() {
            write!(out, " ({} bytes)", data.size_bytes)?;
        }
        if let Some(target) = self.reparse_target.clone() {
            write!(out, ", leads to {}", &self.text[target])?;
        }
        if self.base.is_some() {
            out.write_str(", from an extension record whose base record is gone")?;
        }
        let mut outcome = Ok(());
        words::later(self.later_in_names(), |later| {
            if let Some(later) = later {
                outcome = write!(
                    out,
                    "; $FILE_NAME is later than $STANDARD_INFORMATION: {later}"
                );
            }
        });
        outcome?;
        self.findings.tell(out)
    }

    fn body(&self, line: &mut dyn FnMut(&FileLine<'_>)) {
        let letter = if self.directory { 'd' } else { 'r' };
        let base = FileLine {
            path: "",
            stream: None,
            name_times: false,
            deleted: !self.in_use,
            entry: paths::entry_of(self.reference),
            attribute: None,
            kind: (if self.in_use { letter } else { '-' }, letter),
            size_bytes: 0,
            times: self
                .standard
                .map_or([None; 4], |standard| standard.times.body()),
        };
        let mut of_path = |path: &str, name: Option<&Name>| {
            for stream in &self.streams {
                let name = &self.text[stream.name.clone()];
                line(&FileLine {
                    path,
                    stream: (!name.is_empty()).then_some(name),
                    attribute: Some((stream.kind, stream.attribute_id)),
                    size_bytes: stream.size_bytes,
                    ..base
                });
            }
            if let Some(name) = name {
                line(&FileLine {
                    path,
                    name_times: true,
                    attribute: Some((kind::FILE_NAME, name.attribute_id)),
                    size_bytes: name.value_bytes.into(),
                    times: name.times.body(),
                    ..base
                });
            } else if self.streams.is_empty() {
                line(&FileLine { path, ..base });
            }
        };
        if self.names.is_empty() {
            of_path(self.path(), None);
        }
        for name in &self.names {
            if let Some(path) = name.path.clone() {
                of_path(&self.text[path], Some(name));
            }
        }
    }
}

/// Every `$FILE_NAME` of an entry.
struct Names<'a>(&'a Entry);

impl Nested for Names<'_> {
    fn visit(&self, out: &mut dyn Tree) {
        let entry = self.0;
        out.begin_list();
        for name in &entry.names {
            out.begin_map();
            out.key("name");
            out.value(Value::Text(&entry.text[name.text.clone()]));
            out.key("namespace");
            words::namespace(name.namespace, |text| out.value(Value::Text(text)));
            out.key("parent_entry");
            out.value(Value::Uint(paths::entry_of(name.parent)));
            out.key("parent_sequence");
            out.value(Value::Uint(paths::sequence_of(name.parent).into()));
            if let Some(path) = name.path.clone() {
                out.key("path");
                out.value(Value::Text(&entry.text[path]));
            }
            for (ticks, meaning) in name.times.meanings() {
                if ticks != 0 {
                    out.key(meaning.name());
                    let at = UtcNanos::from_filetime(ticks);
                    out.value(Value::Time(at, Precision::FILETIME));
                }
            }
            out.end();
        }
        out.end();
    }
}

/// The named `$DATA` streams of an entry.
struct Streams<'a>(&'a Entry);

impl Nested for Streams<'_> {
    fn visit(&self, out: &mut dyn Tree) {
        out.begin_list();
        for stream in self.0.named_streams() {
            out.begin_map();
            out.key("name");
            out.value(Value::Text(&self.0.text[stream.name.clone()]));
            out.key("size_bytes");
            out.value(Value::Uint(stream.size_bytes));
            match stream.allocated_bytes {
                Some(allocated) => {
                    out.key("allocated_bytes");
                    out.value(Value::Uint(allocated));
                }
                None => {
                    out.key("is_resident");
                    out.value(Value::Bool(true));
                }
            }
            words::storage(stream.storage, |text| {
                if let Some(text) = text {
                    out.key("storage");
                    out.value(Value::Text(text));
                }
            });
            out.end();
        }
        out.end();
    }
}
