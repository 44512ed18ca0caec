//! One record of an event log, as columns.

use std::{borrow::Cow, cell::RefCell, fmt};

use scelle_event::{
    CivilNanos, Column, ColumnKind, Fields, Meaning, Moment, Nested, Precision, Record, Schema,
    Stamp, Tree, UtcNanos, Value,
};
use scelle_formats::evtx::{Builder, Event, Located, Scalar, SystemField, SystemTime};

pub(super) static SCHEMA: Schema = Schema {
    name: "windows.evtx.record",
    doc: "A record of an event log.",
    columns: &[
        Column::new(
            "record_id",
            ColumnKind::Uint,
            "EventRecordID; the number in the record's header where the event has none.",
        ),
        Column::new(
            "event_id",
            ColumnKind::Uint,
            "EventID: which event of its provider it is.",
        ),
        Column::new(
            "qualifiers",
            ColumnKind::Uint,
            "Qualifiers of the EventID, of providers older than Vista.",
        ),
        Column::new(
            "version",
            ColumnKind::Uint,
            "Version of the event's definition.",
        ),
        Column::new(
            "level",
            ColumnKind::Uint,
            "1 critical, 2 error, 3 warning, 4 information, 5 verbose, 0 always logged.",
        ),
        Column::new(
            "task",
            ColumnKind::Uint,
            "Task, a number of the provider's own.",
        ),
        Column::new(
            "opcode",
            ColumnKind::Uint,
            "Opcode: what stage of the task.",
        ),
        Column::new(
            "keywords",
            ColumnKind::Text,
            "Keywords, a bit set in hexadecimal.",
        ),
        Column::new("provider", ColumnKind::Text, "Name of the provider."),
        Column::new("provider_guid", ColumnKind::Text, "GUID of the provider."),
        Column::new(
            "event_source_name",
            ColumnKind::Text,
            "Name of the provider's older event source.",
        ),
        Column::new(
            "channel",
            ColumnKind::Text,
            "Channel to which it was logged.",
        ),
        Column::new(
            "computer",
            ColumnKind::Text,
            "Name of the computer that logged it.",
        ),
        Column::new(
            "time_created",
            ColumnKind::Time(Precision::FILETIME),
            "When the provider made the event.",
        ),
        Column::new(
            "written",
            ColumnKind::Time(Precision::FILETIME),
            "When the record was written, from its header.",
        ),
        Column::new("process_id", ColumnKind::Uint, "Process that logged it."),
        Column::new("thread_id", ColumnKind::Uint, "Thread that logged it."),
        Column::new(
            "activity_id",
            ColumnKind::Text,
            "GUID of the activity that it belongs to.",
        ),
        Column::new(
            "related_activity_id",
            ColumnKind::Text,
            "GUID of the activity to which control went.",
        ),
        Column::new(
            "user_sid",
            ColumnKind::Text,
            "SID of the account in whose name it was logged.",
        ),
        Column::new(
            "recovered",
            ColumnKind::Bool,
            "Whether it lies outside the records that its chunk declares.",
        ),
        Column::new(
            "log_record_id",
            ColumnKind::Uint,
            "The number in the record's header, where it is not record_id.",
        ),
        Column::new(
            "system",
            ColumnKind::Nested,
            "What else its System element says.",
        ),
        Column::new(
            "data",
            ColumnKind::Nested,
            "Its EventData, UserData or other data, by name.",
        ),
    ],
};

/// One record; without an event where its binary XML is damaged.
pub(super) struct EventRecord<'a> {
    located: &'a Located,
    event: Option<Event<'a>>,
    /// Where text is put together; only ever borrowed for one value.
    scratch: RefCell<Vec<u8>>,
}

impl<'a> EventRecord<'a> {
    pub(super) fn new(located: &'a Located, event: Option<Event<'a>>) -> Self {
        Self {
            located,
            event,
            scratch: RefCell::default(),
        }
    }

    /// When the provider made the event, as its System element says.
    pub(super) fn time_created(&self) -> Option<Stamp> {
        let (at, precision) = match self.system(SystemField::TimeCreated) {
            Scalar::FileTime(ticks) => return Stamp::filetime(ticks, Meaning::Logged),
            Scalar::SystemTime(time) => (from_system_time(&time)?, Precision::MILLISECOND),
            Scalar::Literal(text) => parse_iso(text)?,
            Scalar::Text(text) => parse_iso(text.to_str(&mut self.scratch.borrow_mut()))?,
            _ => return None,
        };
        Some(Stamp {
            moment: Moment::Utc(at),
            precision,
            meaning: Meaning::Logged,
            attribute: None,
        })
    }

    fn system(&self, field: SystemField) -> Scalar<'a> {
        self.event.map_or(Scalar::Null, |event| event.system(field))
    }

    fn number(&self, field: SystemField) -> Option<u64> {
        self.system(field).as_u64(&mut self.scratch.borrow_mut())
    }

    fn text<R>(&self, field: SystemField, show: impl FnOnce(Value<'_>) -> R) -> R {
        let value = self.system(field);
        let mut scratch = self.scratch.borrow_mut();
        with_text(value, &mut scratch, show)
    }

    /// A GUID as it is shown everywhere, also where a template holds it as text.
    fn guid(&self, field: SystemField, show: impl FnOnce(Value<'_>)) {
        self.text(field, |value| match value {
            Value::Text(text) if text.bytes().any(|byte| byte.is_ascii_uppercase()) => {
                show(Value::Text(&text.to_ascii_lowercase()));
            }
            other => show(other),
        });
    }

    fn owned(&self, field: SystemField) -> Option<String> {
        self.text(field, |value| match value {
            Value::Text(text) if !text.is_empty() => Some(text.to_owned()),
            _ => None,
        })
    }

    fn record_id(&self) -> u64 {
        self.number(SystemField::EventRecordId)
            .unwrap_or(self.located.id)
    }
}

impl Record for EventRecord<'_> {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn fields(&self, out: &mut dyn Fields) {
        use SystemField as Field;
        let record_id = self.record_id();
        out.value(Value::Uint(record_id));
        for field in [
            Field::EventId,
            Field::Qualifiers,
            Field::Version,
            Field::Level,
            Field::Task,
            Field::Opcode,
        ] {
            out.value(Value::uint(self.number(field)));
        }
        self.text(Field::Keywords, |value| out.value(value));
        self.text(Field::ProviderName, |value| out.value(value));
        self.guid(Field::ProviderGuid, |value| out.value(value));
        self.text(Field::EventSourceName, |value| out.value(value));
        self.text(Field::Channel, |value| out.value(value));
        self.text(Field::Computer, |value| out.value(value));
        out.value(match self.time_created() {
            Some(Stamp {
                moment: Moment::Utc(at),
                precision,
                ..
            }) => Value::Time(at, precision),
            _ => Value::Null,
        });
        out.value(Value::filetime(self.located.written));
        out.value(Value::uint(self.number(Field::ProcessId)));
        out.value(Value::uint(self.number(Field::ThreadId)));
        self.guid(Field::ActivityId, |value| out.value(value));
        self.guid(Field::RelatedActivityId, |value| out.value(value));
        self.text(Field::UserSid, |value| out.value(value));
        out.value(Value::Bool(self.located.recovered));
        out.value(Value::uint(
            (self.located.id != record_id).then_some(self.located.id),
        ));
        match &self.event {
            Some(event) if event.has_more_system() => out.value(Value::Nested(&MoreSystem(event))),
            _ => out.value(Value::Null),
        }
        match &self.event {
            Some(event) if event.has_data() => out.value(Value::Nested(&Data(event))),
            _ => out.value(Value::Null),
        }
    }

    /// What the event's data names as its object: a file, a key, a program, a service, an account.
    fn subject(&self) -> Option<Cow<'_, str>> {
        let mut best: Option<(usize, Scalar<'_>)> = None;
        self.event?.for_each_value(&mut |name, value| {
            let rank = SUBJECTS.iter().position(|subject| *subject == name);
            if let Some(rank) = rank
                && best.is_none_or(|(known, _)| rank < known)
                && matches!(value, Scalar::Text(text) if !text.0.is_empty())
            {
                best = Some((rank, value));
            }
        });
        let mut text = Vec::new();
        best?.1.push_to(&mut text);
        Some(Cow::Owned(String::from_utf8_lossy(&text).into_owned()))
    }

    fn message(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        match self.owned(SystemField::ProviderName) {
            Some(provider) => out.write_str(&provider)?,
            None => out.write_str("An unnamed provider")?,
        }
        match self.number(SystemField::EventId) {
            Some(id) => write!(out, " event {id}")?,
            None => write!(
                out,
                " event of which only record {} is left",
                self.located.id
            )?,
        }
        match self.number(SystemField::Level) {
            Some(1) => out.write_str(" (critical)")?,
            Some(2) => out.write_str(" (error)")?,
            Some(3) => out.write_str(" (warning)")?,
            _ => {}
        }
        if self.located.recovered {
            out.write_str(" (recovered)")?;
        }
        let Some(event) = &self.event else {
            return Ok(());
        };
        let mut line = Line {
            left: MESSAGE_BYTES,
            separator: ": ",
            text: Vec::new(),
        };
        let mut result = Ok(());
        event.for_each_value(&mut |name, value| {
            if result.is_ok() && line.left > 0 && !name.starts_with('@') {
                result = line.push(name, value, out);
            }
        });
        result
    }

    fn user(&self) -> Option<Cow<'_, str>> {
        self.owned(SystemField::UserSid).map(Cow::Owned)
    }

    fn host(&self) -> Option<Cow<'_, str>> {
        self.owned(SystemField::Computer).map(Cow::Owned)
    }
}

/// Names of data that say what an event is about, the most telling first.
const SUBJECTS: [&str; 14] = [
    "TargetFilename",
    "TargetObject",
    "ObjectName",
    "RelativeTargetName",
    "ServiceName",
    "TaskName",
    "NewProcessName",
    "Image",
    "ProcessName",
    "Path",
    "TargetUserName",
    "param1",
    "User",
    "ShareName",
];

/// About how long the values in a message may be, in all.
const MESSAGE_BYTES: usize = 240;

/// Values of an event, one after another in one line.
struct Line {
    left: usize,
    separator: &'static str,
    text: Vec<u8>,
}

impl Line {
    fn push(&mut self, name: &str, value: Scalar<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        let mut failed = Ok(());
        with_value(value, &mut self.text, |value| {
            let mut shown = Vec::new();
            match value {
                Value::Null | Value::Text("" | "-") => return,
                Value::Text(text) => shown.extend_from_slice(text.as_bytes()),
                other => scelle_event::json::write_value(&mut shown, other),
            }
            let shown = String::from_utf8_lossy(&shown);
            let end = shown.floor_char_boundary(self.left);
            let head = &shown[..end];
            let plain = head.split_whitespace();
            failed = (|| {
                write!(out, "{}{name}=", self.separator)?;
                for (index, word) in plain.enumerate() {
                    if index > 0 {
                        out.write_char(' ')?;
                    }
                    out.write_str(word.trim_matches('"'))?;
                }
                if end < shown.len() {
                    out.write_str("…")
                } else {
                    Ok(())
                }
            })();
            self.left = self.left.saturating_sub(name.len() + 3 + end);
            self.separator = ", ";
        });
        failed
    }
}

struct Data<'e, 'a>(&'e Event<'a>);

impl Nested for Data<'_, '_> {
    fn visit(&self, out: &mut dyn Tree) {
        self.0.show_data(&mut Shown::on(out));
    }
}

struct MoreSystem<'e, 'a>(&'e Event<'a>);

impl Nested for MoreSystem<'_, '_> {
    fn visit(&self, out: &mut dyn Tree) {
        self.0.show_more_system(&mut Shown::on(out));
    }
}

/// Shows an event's data on a tree.
struct Shown<'t> {
    out: &'t mut dyn Tree,
    scratch: Vec<u8>,
}

impl<'t> Shown<'t> {
    fn on(out: &'t mut dyn Tree) -> Self {
        Self {
            out,
            scratch: Vec::with_capacity(256),
        }
    }
}

impl Builder for Shown<'_> {
    fn begin_map(&mut self) {
        self.out.begin_map();
    }

    fn key(&mut self, name: &str) {
        self.out.key(name);
    }

    fn begin_list(&mut self) {
        self.out.begin_list();
    }

    fn value(&mut self, value: Scalar<'_>) {
        if let Scalar::Text(text) = value {
            return self.out.utf16(text.0);
        }
        with_value(value, &mut self.scratch, |value| self.out.value(value));
    }

    fn joined(&mut self, values: &mut dyn Iterator<Item = Scalar<'_>>) {
        self.scratch.clear();
        for value in values {
            let time = match value {
                Scalar::FileTime(ticks) => {
                    Some((UtcNanos::from_filetime(ticks), Precision::FILETIME))
                }
                _ => None,
            };
            match time {
                Some((at, precision)) => Moment::Utc(at).write_iso(precision, &mut self.scratch),
                None => value.push_to(&mut self.scratch),
            }
        }
        self.out
            .value(Value::Text(&String::from_utf8_lossy(&self.scratch)));
    }

    fn end(&mut self) {
        self.out.end();
    }
}

/// Gives a value with the type that it has.
fn with_value<R>(value: Scalar<'_>, scratch: &mut Vec<u8>, show: impl FnOnce(Value<'_>) -> R) -> R {
    match value {
        Scalar::Int(number) => show(Value::Int(number)),
        Scalar::Uint(number) => show(Value::Uint(number)),
        Scalar::Bool(truth) => show(Value::Bool(truth)),
        Scalar::Binary(bytes) => show(Value::Bytes(bytes)),
        Scalar::FileTime(ticks) => show(Value::Time(
            UtcNanos::from_filetime(ticks),
            Precision::FILETIME,
        )),
        Scalar::SystemTime(time) => match from_system_time(&time) {
            Some(at) => show(Value::Time(at, Precision::MILLISECOND)),
            None => with_text(value, scratch, show),
        },
        other => with_text(other, scratch, show),
    }
}

/// Gives a value as text.
fn with_text<R>(value: Scalar<'_>, scratch: &mut Vec<u8>, show: impl FnOnce(Value<'_>) -> R) -> R {
    match value {
        Scalar::Null => show(Value::Null),
        Scalar::Literal(text) => show(Value::Text(text)),
        Scalar::Text(text) => show(Value::Text(text.to_str(scratch))),
        other => {
            scratch.clear();
            other.push_to(scratch);
            show(Value::Text(&String::from_utf8_lossy(scratch)))
        }
    }
}

fn from_system_time(time: &SystemTime) -> Option<UtcNanos> {
    time.is_valid().then(|| {
        let second =
            u32::from(time.hour) * 3600 + u32::from(time.minute) * 60 + u32::from(time.second);
        let nanos = u32::from(time.millisecond) * 1_000_000;
        let civil = CivilNanos::from_civil(
            time.year.into(),
            time.month as u8,
            time.day as u8,
            second,
            nanos,
        );
        UtcNanos::from_nanos(civil.nanos())
    })
}

/// Reads `2021-11-19T16:52:33.833733500Z`, as forwarded events have their time as text.
fn parse_iso(text: &str) -> Option<(UtcNanos, Precision)> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.splitn(3, '-');
    let mut next = || date.next()?.parse::<u16>().ok();
    let (year, month, day) = (next()?, next()?, next()?);
    let (clock, fraction) = time.split_once('.').unwrap_or((time, ""));
    let mut clock = clock.splitn(3, ':');
    let mut next = || clock.next()?.parse::<u16>().ok();
    let (hour, minute, second) = (next()?, next()?, next()?);
    let whole = SystemTime {
        year,
        month,
        day,
        hour,
        minute,
        second,
        millisecond: 0,
    };
    let digits = fraction.len() as u32;
    if digits > 9 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let step = 10u64.pow(9 - digits);
    let nanos = fraction
        .bytes()
        .fold(0, |value, digit| value * 10 + u64::from(digit - b'0'))
        * step;
    let at = from_system_time(&whole)?.nanos() + i128::from(nanos);
    Some((UtcNanos::from_nanos(at), Precision(step)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_text() {
        let (at, precision) = parse_iso("2021-11-19T16:52:33.833733500Z").expect("a time");
        assert_eq!(
            Moment::Utc(at).to_iso(precision),
            "2021-11-19T16:52:33.833733500Z"
        );
        let (at, precision) = parse_iso("2021-11-19T16:52:33Z").expect("a time");
        assert_eq!(Moment::Utc(at).to_iso(precision), "2021-11-19T16:52:33Z");
        for wrong in [
            "",
            "2021-11-19",
            "2021-13-19T16:52:33Z",
            "2021-11-19T16:52:33.8x3Z",
            "2021-11-19T16:52:33",
        ] {
            assert_eq!(parse_iso(wrong), None, "{wrong}");
        }
    }
}
