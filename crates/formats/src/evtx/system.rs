//! What an `Event` element's `System` says, as fields.

use super::plan::{Content, Element, EventPlan, Item, Member, Node, Str, SystemField, Tables};

/// The namespace of every event says nothing.
const EVENT_NAMESPACE: &str = "http://schemas.microsoft.com/win/2004/08/events/event";

impl Tables {
    /// Takes an `Event` apart into system fields and the rest.
    pub(super) fn take_event(&mut self, event: Element) -> u32 {
        let mut plan = EventPlan {
            fields: [Content::Empty; SystemField::COUNT],
            rest: (0, 0),
            data: (0, 0),
            content: event.content,
        };
        let first = self.members.len() as u32;
        for index in event.members() {
            let member = self.members[index];
            if let Some(system) = self.system_of(&member) {
                for index in self.elements[system as usize].members() {
                    self.take_system_part(self.members[index], &mut plan.fields);
                }
            }
        }
        plan.rest = (first, self.members.len() as u32 - first);
        let first = self.members.len() as u32;
        for index in event.members() {
            let member = self.members[index];
            if self.system_of(&member).is_none() && !self.is_event_namespace(&member) {
                self.members.push(member);
            }
        }
        plan.data = (first, self.members.len() as u32 - first);
        self.systems.push(plan);
        self.systems.len() as u32 - 1
    }

    pub(super) fn push_member(&mut self, key: Str, list: bool, first: u32) {
        let count = self.items.len() as u32 - first;
        self.members.push(Member {
            key,
            list: list || count > 1,
            first,
            count,
        });
    }

    /// The element, if the member is an event's `System`.
    fn system_of(&self, member: &Member) -> Option<u32> {
        match self.items[member.first as usize].node {
            Node::Element(system) if member.count == 1 && self.str(member.key) == "System" => {
                Some(system)
            }
            _ => None,
        }
    }

    fn is_event_namespace(&self, member: &Member) -> bool {
        matches!(
            self.items[member.first as usize].node,
            Node::Text(Content::Literal(name))
                if self.str(member.key) == "@xmlns" && self.str(name) == EVENT_NAMESPACE
        )
    }

    /// Notes the fields that a member of `System` holds; what is none becomes a further member.
    fn take_system_part(&mut self, part: Member, fields: &mut [Content; SystemField::COUNT]) {
        if part.count > 1 {
            self.members.push(part);
            return;
        }
        match self.items[part.first as usize].node {
            Node::Text(content) => self.take_field(part.key, None, content, fields),
            Node::Element(element) => {
                let element = self.elements[element as usize];
                self.take_field(part.key, None, element.content, fields);
                for index in element.members() {
                    let member = self.members[index];
                    match self.items[member.first as usize].node {
                        Node::Text(content) if member.count == 1 => {
                            self.take_field(part.key, Some(member.key), content, fields);
                        }
                        _ => self.members.push(member),
                    }
                }
            }
        }
    }

    fn take_field(
        &mut self,
        element: Str,
        attribute: Option<Str>,
        content: Content,
        fields: &mut [Content; SystemField::COUNT],
    ) {
        if content == Content::Empty {
            return;
        }
        let name = attribute.map(|attribute| self.str(attribute));
        if let Some(field) = SystemField::of(self.str(element), name)
            && fields[field as usize] == Content::Empty
            && !matches!(content, Content::Mixed { .. })
        {
            fields[field as usize] = content;
            return;
        }
        let key = match attribute {
            None => element,
            Some(attribute) => {
                let key = format!("{}{}", self.str(element), self.str(attribute));
                self.keep("", &key)
            }
        };
        let first = self.items.len() as u32;
        self.items.push(Item {
            node: Node::Text(content),
            depends_on: None,
        });
        self.push_member(key, false, first);
    }
}
