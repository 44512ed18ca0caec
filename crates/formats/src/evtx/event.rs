//! A decoded record, and how it is shown.

use smallvec::SmallVec;

use super::{
    decoder::{Decoder, Instance, Slot},
    plan::{Content, Element, EventPlan, Item, Member, Node, SystemField},
    value::{Scalar, for_each_of, kind},
};

/// Takes an event's data: maps, lists and values.
pub trait Builder {
    /// Opens a map; [`key`](Self::key) and a value follow in turn.
    fn begin_map(&mut self);
    /// Names the next value of the map that is open.
    fn key(&mut self, name: &str);
    /// Opens a list.
    fn begin_list(&mut self);
    /// A value.
    fn value(&mut self, value: Scalar<'_>);
    /// A value that is the text of several, one after another.
    fn joined(&mut self, values: &mut dyn Iterator<Item = Scalar<'_>>);
    /// Closes the map or list that was opened last.
    fn end(&mut self);
}

/// A decoded record; its values still lie in the chunk.
#[derive(Clone, Copy, Debug)]
pub struct Event<'d> {
    decoder: &'d Decoder,
    chunk: &'d [u8],
    root: Instance,
}

/// The element whose members are the event's data itself.
const EVENT_DATA: &str = "EventData";
/// The text of an element that has members besides.
const TEXT: &str = "#text";

impl<'d> Event<'d> {
    pub(super) fn new(decoder: &'d Decoder, chunk: &'d [u8], root: Instance) -> Self {
        Self {
            decoder,
            chunk,
            root,
        }
    }

    /// A system field; [`Scalar::Null`] where the event does not have it.
    pub fn system(&self, field: SystemField) -> Scalar<'d> {
        match self.plan() {
            Some(plan) => self.scalar(self.root, plan.fields[field as usize]),
            None => Scalar::Null,
        }
    }

    /// Whether `System` says more than the fields of [`SystemField`].
    pub fn has_more_system(&self) -> bool {
        self.plan().is_some_and(|plan| {
            let members = self.decoder.tables().members_of(plan.rest);
            members
                .iter()
                .any(|member| !self.is_null(self.root, member))
        })
    }

    /// Shows what else `System` says, as a map: `Execution@SessionID`, …
    pub fn show_more_system(&self, out: &mut dyn Builder) {
        out.begin_map();
        if let Some(plan) = self.plan() {
            for member in self.decoder.tables().members_of(plan.rest) {
                if !self.is_null(self.root, member) {
                    self.show_member(self.root, member, out);
                }
            }
        }
        out.end();
    }

    /// Whether the event has data.
    pub fn has_data(&self) -> bool {
        !self.sources().is_empty()
    }

    /// Shows the event's data as a map. The members of `EventData` are members of the map itself:
    /// `<Data Name="n">v</Data>` is `n`, other `Data` elements are the list `Data`. What is not in
    /// `EventData` goes by its element's name; a name that is taken gets `#2`. An attribute's name
    /// begins with `@`.
    pub fn show_data(&self, out: &mut dyn Builder) {
        let tables = self.decoder.tables();
        let mut taken: SmallVec<[&str; 0]> = SmallVec::new();
        let sources = self.sources();
        out.begin_map();
        for (instance, member) in &sources {
            if let Some(element) = self.event_data(member)
                && taken.is_empty()
            {
                self.show_members(*instance, element, out);
                if sources.len() > 1 {
                    let members = &tables.members[element.members()];
                    taken.extend(members.iter().map(|member| tables.str(member.key)));
                    taken.push(TEXT);
                }
                continue;
            }
            let key = tables.str(member.key);
            let times = taken.iter().filter(|name| **name == key).count();
            taken.push(key);
            if times == 0 {
                self.show_member(*instance, member, out);
            } else {
                out.key(&format!("{key}#{}", times + 1));
                self.show_items(*instance, member, out);
            }
        }
        out.end();
    }

    /// The single values of the event's data, with the names of their elements, in their order.
    pub fn for_each_value(&self, show: &mut dyn FnMut(&'d str, Scalar<'d>)) {
        let tables = self.decoder.tables();
        for (instance, member) in &self.sources() {
            let members = match self.event_data(member) {
                Some(element) => &tables.members[element.members()],
                None => std::slice::from_ref(*member),
            };
            self.for_each_leaf(*instance, members, 0, show);
        }
    }

    fn for_each_leaf(
        &self,
        instance: Instance,
        members: &'d [Member],
        depth: usize,
        show: &mut dyn FnMut(&'d str, Scalar<'d>),
    ) {
        const DEPTH: usize = 4;
        let tables = self.decoder.tables();
        for member in members {
            for item in &tables.items[member.items()] {
                match item.node {
                    Node::Text(content) => match self.nested(instance, content) {
                        Some(nested) if depth < DEPTH => {
                            for nested in self.decoder.chain(nested) {
                                let root = &self.decoder.plan(nested).root;
                                let members = &tables.members[root.members()];
                                self.for_each_leaf(nested, members, depth + 1, show);
                            }
                        }
                        Some(_) => {}
                        None => self.for_each_scalar(instance, content, &mut |value| {
                            show(tables.str(member.key), value);
                        }),
                    },
                    Node::Element(element) if depth < DEPTH => {
                        let members = &tables.members[tables.elements[element as usize].members()];
                        self.for_each_leaf(instance, members, depth + 1, show);
                    }
                    Node::Element(_) => {}
                }
            }
        }
    }

    /// The value of a content; of an array each.
    fn for_each_scalar(
        &self,
        instance: Instance,
        content: Content,
        show: &mut dyn FnMut(Scalar<'d>),
    ) {
        if let Content::Slot { index, .. } = content
            && let Some(slot) = self.slot(instance, index)
            && slot.kind & kind::ARRAY != 0
        {
            for_each_of(slot.kind & !kind::ARRAY, slot.bytes(self.chunk), show);
        } else {
            show(self.scalar(instance, content));
        }
    }

    fn plan(&self) -> Option<&'d EventPlan> {
        let event = self.decoder.plan(self.root).event?;
        Some(&self.decoder.tables().systems[event as usize])
    }

    /// What the event's data consists of, nulls left out: as a rule one `EventData`.
    fn sources(&self) -> SmallVec<[(Instance, &'d Member); 2]> {
        let tables = self.decoder.tables();
        let of = |first: Instance| {
            self.decoder.chain(first).flat_map(|instance| {
                let root = &self.decoder.plan(instance).root;
                let members = tables.members[root.members()].iter();
                members.map(move |member| (instance, member))
            })
        };
        let mut sources: SmallVec<[(Instance, &Member); 2]> = SmallVec::new();
        match self.plan() {
            None => sources.extend(of(self.root)),
            Some(plan) => {
                let own = tables.members_of(plan.data).iter();
                sources.extend(own.map(|member| (self.root, member)));
                for content in self.pieces(plan.content) {
                    if let Some(nested) = self.nested(self.root, content) {
                        sources.extend(of(nested));
                    }
                }
            }
        }
        sources.retain(|source| !self.is_null(source.0, source.1));
        sources
    }

    fn event_data(&self, member: &Member) -> Option<&'d Element> {
        let tables = self.decoder.tables();
        match tables.items[member.first as usize].node {
            Node::Element(element) if member.count == 1 && tables.str(member.key) == EVENT_DATA => {
                Some(&tables.elements[element as usize])
            }
            _ => None,
        }
    }

    fn show_member(&self, instance: Instance, member: &Member, out: &mut dyn Builder) {
        out.key(self.decoder.tables().str(member.key));
        self.show_items(instance, member, out);
    }

    fn show_items(&self, instance: Instance, member: &Member, out: &mut dyn Builder) {
        let items = &self.decoder.tables().items[member.items()];
        if let ([item], false) = (items, member.list) {
            self.show_node(instance, item.node, false, out);
            return;
        }
        out.begin_list();
        for item in items
            .iter()
            .filter(|item| !self.is_left_out(instance, item))
        {
            self.show_node(instance, item.node, true, out);
        }
        out.end();
    }

    /// Shows a node. An array stands for an element each, so within a list it brings no list.
    fn show_node(&self, instance: Instance, node: Node, in_list: bool, out: &mut dyn Builder) {
        match node {
            Node::Text(content) => self.show_content(instance, content, in_list, out),
            Node::Element(element) => {
                out.begin_map();
                self.show_members(
                    instance,
                    &self.decoder.tables().elements[element as usize],
                    out,
                );
                out.end();
            }
        }
    }

    fn show_members(&self, instance: Instance, element: &Element, out: &mut dyn Builder) {
        let tables = self.decoder.tables();
        for member in &tables.members[element.members()] {
            if !self.vanishes(instance, member) {
                self.show_member(instance, member, out);
            }
        }
        if !self.is_empty(instance, element.content) {
            out.key(TEXT);
            self.show_content(instance, element.content, false, out);
        }
    }

    fn show_content(
        &self,
        instance: Instance,
        content: Content,
        in_list: bool,
        out: &mut dyn Builder,
    ) {
        if let Some(nested) = self.nested(instance, content) {
            out.begin_map();
            for nested in self.decoder.chain(nested) {
                self.show_members(nested, &self.decoder.plan(nested).root, out);
            }
            out.end();
            return;
        }
        match content {
            Content::Slot { index, .. } => match self.slot(instance, index) {
                Some(slot) if slot.kind & kind::ARRAY != 0 => {
                    if !in_list {
                        out.begin_list();
                    }
                    self.for_each_scalar(instance, content, &mut |value| out.value(value));
                    if !in_list {
                        out.end();
                    }
                }
                _ => out.value(self.scalar(instance, content)),
            },
            Content::Mixed { .. } => {
                let pieces = self.pieces(content);
                if pieces
                    .iter()
                    .any(|piece| self.nested(instance, *piece).is_some())
                {
                    out.begin_list();
                    for piece in pieces {
                        self.show_content(instance, piece, true, out);
                    }
                    out.end();
                } else {
                    out.joined(&mut pieces.iter().map(|piece| self.scalar(instance, *piece)));
                }
            }
            _ => out.value(self.scalar(instance, content)),
        }
    }

    /// The one value of a content.
    fn scalar(&self, instance: Instance, content: Content) -> Scalar<'d> {
        match content {
            Content::Empty | Content::Mixed { .. } => Scalar::Null,
            Content::Literal(text) => Scalar::Literal(self.decoder.tables().str(text)),
            Content::Slot { index, .. } => match self.slot(instance, index) {
                Some(slot) => Scalar::decode(slot.kind, slot.bytes(self.chunk)),
                None => Scalar::Null,
            },
            Content::Value { kind, at, len } => {
                let values = &self.decoder.tables().values;
                let bytes = &values[at as usize..(at + len) as usize];
                Scalar::decode(kind, bytes)
            }
        }
    }

    /// The pieces of a content, which has but one as a rule.
    fn pieces(&self, content: Content) -> SmallVec<[Content; 1]> {
        match content {
            Content::Empty => SmallVec::new(),
            Content::Mixed { first, count } => {
                let parts = &self.decoder.tables().parts;
                SmallVec::from_slice(&parts[first as usize..(first + count) as usize])
            }
            one => SmallVec::from_buf([one]),
        }
    }

    fn slot(&self, instance: Instance, index: u16) -> Option<&'d Slot> {
        self.decoder.slots(instance).get(usize::from(index))
    }

    /// The instance that a content's value holds.
    fn nested(&self, instance: Instance, content: Content) -> Option<Instance> {
        match content {
            Content::Slot { index, .. } => self.slot(instance, index)?.nested,
            _ => None,
        }
    }

    /// Whether a content shows nothing at all.
    fn is_empty(&self, instance: Instance, content: Content) -> bool {
        match content {
            Content::Empty => true,
            Content::Slot { index, .. } => self.slot(instance, index).is_none_or(Slot::is_null),
            _ => false,
        }
    }

    /// Whether the value that an item depends on is null.
    fn is_left_out(&self, instance: Instance, item: &Item) -> bool {
        let slot = item.depends_on.and_then(|index| self.slot(instance, index));
        slot.is_some_and(Slot::is_null)
    }

    /// Whether a member is not there: all its items are left out, or it is an attribute that is
    /// optional and null.
    fn vanishes(&self, instance: Instance, member: &Member) -> bool {
        let tables = self.decoder.tables();
        let items = &tables.items[member.items()];
        if let [
            Item {
                node: Node::Text(content @ Content::Slot { optional: true, .. }),
                ..
            },
        ] = items
            && tables.str(member.key).starts_with('@')
        {
            return self.is_empty(instance, *content);
        }
        items.iter().all(|item| self.is_left_out(instance, item))
    }

    /// Whether a member has nothing to show.
    fn is_null(&self, instance: Instance, member: &Member) -> bool {
        self.decoder.tables().items[member.items()]
            .iter()
            .all(|item| {
                self.is_left_out(instance, item)
                    || matches!(item.node, Node::Text(content) if self.is_empty(instance, content))
            })
    }
}
