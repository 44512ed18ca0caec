//! What a template is compiled to: flat tables of elements, their members and their texts.
//!
//! All plans share one set of tables, which are kept from one chunk to the next and cleared where
//! they have grown large, so that decoding allocates nothing once it is warm.

use std::ops::Range;

/// A piece of the tables' text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Str {
    pub(super) start: u32,
    pub(super) len: u32,
}

/// Text of an element or an attribute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Content {
    /// There is none.
    #[default]
    Empty,
    /// Text of the template.
    Literal(Str),
    /// The instance's value of that number; `optional` ones vanish with their attribute.
    Slot { index: u16, optional: bool },
    /// A value that stands in the token stream: a range of [`Tables::values`].
    Value { kind: u8, at: u32, len: u32 },
    /// Several of the above, one after another: a range of [`Tables::parts`].
    Mixed { first: u32, count: u32 },
}

/// What a member of an element is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Node {
    /// An attribute, or an element that has neither attributes nor elements.
    Text(Content),
    /// An element of [`Tables::elements`].
    Element(u32),
}

/// A member, and the value on which it depends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    pub(super) node: Node,
    /// Left out where the instance's value of this number is null.
    pub(super) depends_on: Option<u16>,
}

/// The members of an element that share a name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    /// `@name` of an attribute, the name of an element, or what a `Data` element is called.
    pub(super) key: Str,
    /// Whether it is a list even with one item.
    pub(super) list: bool,
    pub(super) first: u32,
    pub(super) count: u32,
}

impl Member {
    pub(super) fn items(&self) -> Range<usize> {
        self.first as usize..(self.first + self.count) as usize
    }
}

/// An element with members.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Element {
    pub(super) content: Content,
    pub(super) first: u32,
    pub(super) count: u32,
}

impl Element {
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0 && self.content == Content::Empty
    }

    pub(super) fn members(&self) -> Range<usize> {
        self.first as usize..(self.first + self.count) as usize
    }
}

/// A compiled template, or the elements of a fragment that stands for itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// A nameless element, whose members are the outermost elements.
    pub(super) root: Element,
    /// The index in [`Tables::systems`] of its `Event` element's `System`.
    pub(super) event: Option<u32>,
    /// How many bytes of text it brings itself.
    pub(super) literal_bytes: u32,
    /// How often it shows the value that it shows most often.
    pub(super) most_uses: u32,
}

/// What is known of an `Event` element.
#[derive(Clone, Copy, Debug)]
pub(super) struct EventPlan {
    /// What each system field holds.
    pub(super) fields: [Content; SystemField::COUNT],
    /// The rest of `System`: a range of [`Tables::members`].
    pub(super) rest: (u32, u32),
    /// The event's other members: a range of [`Tables::members`].
    pub(super) data: (u32, u32),
    /// What the event holds besides its members: as a rule the value that holds its data.
    pub(super) content: Content,
}

/// A field of an event's `System` element ([MS-EVEN6], "Event schema").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the schema's")]
pub enum SystemField {
    ProviderName,
    ProviderGuid,
    EventSourceName,
    EventId,
    Qualifiers,
    Version,
    Level,
    Task,
    Opcode,
    Keywords,
    TimeCreated,
    EventRecordId,
    ActivityId,
    RelatedActivityId,
    ProcessId,
    ThreadId,
    Channel,
    Computer,
    UserSid,
}

impl SystemField {
    pub(super) const COUNT: usize = Self::UserSid as usize + 1;

    /// The field that an element of `System`, or an attribute of one, is.
    pub(super) fn of(element: &str, attribute: Option<&str>) -> Option<Self> {
        Some(match (element, attribute) {
            ("Provider", Some("@Name")) => Self::ProviderName,
            ("Provider", Some("@Guid")) => Self::ProviderGuid,
            ("Provider", Some("@EventSourceName")) => Self::EventSourceName,
            ("EventID", None) => Self::EventId,
            ("EventID", Some("@Qualifiers")) => Self::Qualifiers,
            ("Version", None) => Self::Version,
            ("Level", None) => Self::Level,
            ("Task", None) => Self::Task,
            ("Opcode", None) => Self::Opcode,
            ("Keywords", None) => Self::Keywords,
            ("TimeCreated", Some("@SystemTime")) => Self::TimeCreated,
            ("EventRecordID", None) => Self::EventRecordId,
            ("Correlation", Some("@ActivityID")) => Self::ActivityId,
            ("Correlation", Some("@RelatedActivityID")) => Self::RelatedActivityId,
            ("Execution", Some("@ProcessID")) => Self::ProcessId,
            ("Execution", Some("@ThreadID")) => Self::ThreadId,
            ("Channel", None) => Self::Channel,
            ("Computer", None) => Self::Computer,
            ("Security", Some("@UserID")) => Self::UserSid,
            _ => return None,
        })
    }
}

/// The tables of all plans.
#[derive(Debug, Default)]
pub(super) struct Tables {
    pub(super) text: String,
    pub(super) values: Vec<u8>,
    pub(super) elements: Vec<Element>,
    pub(super) members: Vec<Member>,
    pub(super) items: Vec<Item>,
    pub(super) parts: Vec<Content>,
    pub(super) systems: Vec<EventPlan>,
}

impl Tables {
    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.values.clear();
        self.elements.clear();
        self.members.clear();
        self.items.clear();
        self.parts.clear();
        self.systems.clear();
    }

    /// How many bytes they hold.
    pub(super) fn weight(&self) -> usize {
        self.text.len()
            + self.values.len()
            + size_of_val(self.elements.as_slice())
            + size_of_val(self.members.as_slice())
            + size_of_val(self.items.as_slice())
            + size_of_val(self.parts.as_slice())
            + size_of_val(self.systems.as_slice())
    }

    /// Keeps a value of the token stream.
    pub(super) fn keep_value(&mut self, kind: u8, bytes: &[u8]) -> Content {
        let at = self.values.len() as u32;
        self.values.extend_from_slice(bytes);
        Content::Value {
            kind,
            at,
            len: bytes.len() as u32,
        }
    }

    pub(super) fn str(&self, text: Str) -> &str {
        &self.text[text.start as usize..(text.start + text.len) as usize]
    }

    /// Keeps a text.
    pub(super) fn keep(&mut self, prefix: &str, text: &str) -> Str {
        let start = self.text.len() as u32;
        self.text.push_str(prefix);
        self.text.push_str(text);
        Str {
            start,
            len: self.text.len() as u32 - start,
        }
    }

    pub(super) fn members_of(&self, (first, count): (u32, u32)) -> &[Member] {
        &self.members[first as usize..(first + count) as usize]
    }
}
