//! Tokens to plans.
//!
//! | token      | what follows                                                                |
//! |------------|-----------------------------------------------------------------------------|
//! | 01, 41     | element: dependency (2, in templates only), size (4), name (4); 41: attributes |
//! | 06, 46     | attribute: name (4), text                                                   |
//! | 02, 03, 04 | end of a start tag, of an empty element, of an element                      |
//! | 05, 45     | value: type (1), data                                                       |
//! | 07, 47     | CDATA: length (2), UTF-16                                                   |
//! | 08, 48     | character (2)                                                               |
//! | 09, 49     | entity: name (4)                                                            |
//! | 0a, 0b     | processing instruction: name (4); length (2), UTF-16                        |
//! | 0d, 0e     | substitution, optional substitution: number (2), type (1)                   |
//! | 0f         | fragment header: version and flags (3)                                      |

use std::collections::HashMap;

use crate::{Cursor, DecodeError};

use super::{
    names::{NAME_END_BYTES, NAME_HEAD_BYTES, NameRef, Names, Prefix, is_name},
    plan::{Content, Element, Item, Node, Plan, Str, Tables},
    text::{Utf16, as_text, push_ansi},
    value::{fixed_size, kind},
};

/// How deep elements may lie in one another; Windows itself has fewer levels.
const MAX_DEPTH: usize = 64;
/// Elements of more members are grouped with a hash table.
const FEW_MEMBERS: usize = 32;
const NO_DEPENDENCY: u16 = 0xffff;
/// What the compiler needs besides the tables; kept from one template to the next.
#[derive(Debug, Default)]
pub(super) struct Workspace {
    pending: Vec<Pending>,
    parts: Vec<Content>,
    uses: Vec<u16>,
    scratch: Vec<u8>,
    names: Names,
    /// The names of the tokens that were compiled last, in their order.
    pub(super) refs: Vec<NameRef>,
    /// How many bytes of text the tokens that were compiled last bring.
    text_bytes: u32,
    /// How many more tokens may be compiled for this chunk.
    pub(super) budget: u32,
    /// What of the chunk was read outside the record, where somebody wants to know.
    pub(super) seen: Option<Vec<std::ops::Range<usize>>>,
}

impl Workspace {
    /// Forgets the names of the last chunk, and allows so many tokens.
    pub(super) fn start_chunk(&mut self, budget: u32) {
        self.names = Names::default();
        self.budget = budget;
    }

    /// Notes what was read of the chunk.
    pub(super) fn saw(&mut self, range: std::ops::Range<usize>) {
        if let Some(seen) = &mut self.seen {
            seen.push(range);
        }
    }

    /// Counts a text, also where another template has it too: a plan follows from its tokens alone.
    fn brings(&mut self, text: Str) {
        self.text_bytes = self.text_bytes.saturating_add(text.len);
    }
}

/// A member whose element is still open.
#[derive(Clone, Copy, Debug)]
struct Pending {
    key: Str,
    list: bool,
    item: Item,
}

/// Where tokens lie, and how they are to be read.
#[derive(Clone, Debug)]
pub(super) struct Tokens<'c> {
    pub(super) chunk: &'c [u8],
    /// Where the chunk lies in the stream.
    pub(super) base: u64,
    pub(super) range: std::ops::Range<usize>,
    /// Elements of a template say on which value they depend; others do not.
    pub(super) in_template: bool,
}

/// Compiles the elements that `tokens` hold.
///
/// # Errors
/// [`DecodeError`] where they are no well-formed elements, nest too deep, or are too many.
pub(super) fn compile(
    tokens: Tokens<'_>,
    tables: &mut Tables,
    work: &mut Workspace,
) -> Result<Plan, DecodeError> {
    work.pending.clear();
    work.parts.clear();
    work.uses.clear();
    work.refs.clear();
    work.text_bytes = 0;
    let mut compiler = Compiler {
        cur: Cursor::new(
            &tokens.chunk[tokens.range.clone()],
            tokens.base + tokens.range.start as u64,
        ),
        tokens,
        tables,
        work,
        event: None,
    };
    let root = compiler.fragment()?;
    let event = compiler.event;
    Ok(Plan {
        root,
        event,
        literal_bytes: work.text_bytes,
        most_uses: work.uses.iter().copied().max().unwrap_or(0).into(),
    })
}

struct Compiler<'c, 't> {
    tokens: Tokens<'c>,
    cur: Cursor<'c>,
    tables: &'t mut Tables,
    work: &'t mut Workspace,
    event: Option<u32>,
}

impl<'c> Compiler<'c, '_> {
    fn fragment(&mut self) -> Result<Element, DecodeError> {
        while let Some(token) = self.peek() {
            match token & 0x1f {
                0x00 => break,
                0x0f => self.cur.skip("fragment header", 4)?,
                0x01 => {
                    self.token()?;
                    let pending = self.element(token, 0)?;
                    self.work.pending.push(pending);
                }
                0x0a => {
                    self.token()?;
                    self.instruction()?;
                }
                _ => return Err(self.unknown(token)),
            }
        }
        self.close(0, 0)
    }

    /// An element whose first token, `token`, was read.
    fn element(&mut self, token: u8, depth: usize) -> Result<Pending, DecodeError> {
        if depth >= MAX_DEPTH {
            return Err(DecodeError::Limit {
                field: "depth of elements",
                at: self.cur.at(),
                value: depth as u64,
                limit: MAX_DEPTH as u64,
            });
        }
        let mut depends_on = None;
        if self.tokens.in_template {
            let dependency = self.cur.u16("dependency")?;
            depends_on = (dependency != NO_DEPENDENCY).then_some(dependency);
        }
        self.cur.skip("element size", 4)?;
        let key = self.name(Prefix::None)?;
        let (members, parts) = (self.work.pending.len(), self.work.parts.len());
        if token & 0x40 != 0 {
            self.cur.skip("attribute list size", 4)?;
            while let Some(0x06 | 0x46) = self.peek() {
                self.token()?;
                self.attribute()?;
            }
        }
        match self.token()? {
            0x02 => self.content(depth)?,
            0x03 => {}
            other => return Err(self.unknown(other)),
        }
        self.finish(key, depends_on, depth, members, parts)
    }

    fn attribute(&mut self) -> Result<(), DecodeError> {
        let key = self.name(Prefix::Attribute)?;
        let parts = self.work.parts.len();
        while let Some(
            token @ (0x05 | 0x45 | 0x07 | 0x47 | 0x08 | 0x48 | 0x09 | 0x49 | 0x0d | 0x0e),
        ) = self.peek()
        {
            self.token()?;
            self.piece(token)?;
        }
        let content = self.close_content(parts);
        self.work.pending.push(Pending {
            key,
            list: false,
            item: Item {
                node: Node::Text(content),
                depends_on: None,
            },
        });
        Ok(())
    }

    /// What stands between a start tag and its end tag.
    fn content(&mut self, depth: usize) -> Result<(), DecodeError> {
        loop {
            match self.token()? {
                0x04 => return Ok(()),
                token @ (0x01 | 0x41) => {
                    let pending = self.element(token, depth + 1)?;
                    self.work.pending.push(pending);
                }
                0x0a => self.instruction()?,
                token => self.piece(token)?,
            }
        }
    }

    /// A piece of text, whose token was read.
    fn piece(&mut self, token: u8) -> Result<(), DecodeError> {
        match token {
            0x05 | 0x45 => self.value(),
            0x07 | 0x47 => self.counted_text("CDATA"),
            0x08 | 0x48 => {
                let unit = self.cur.u16("character")?;
                self.literal(|out| Utf16(&unit.to_le_bytes()).push_to(out));
                Ok(())
            }
            0x09 | 0x49 => {
                let at = self.cur.u32("entity name offset")?;
                let (name, _) = self.name_at(at)?;
                self.spend(name.0.len())?;
                self.literal(|out| {
                    name.push_to(out);
                    let char = match &out[..] {
                        b"lt" => "<",
                        b"gt" => ">",
                        b"amp" => "&",
                        b"quot" => "\"",
                        b"apos" => "'",
                        _ => {
                            out.insert(0, b'&');
                            out.push(b';');
                            return;
                        }
                    };
                    out.clear();
                    out.extend_from_slice(char.as_bytes());
                });
                Ok(())
            }
            0x0d | 0x0e => {
                let index = self.cur.u16("substitution")?;
                self.cur.skip("substitution type", 1)?;
                let uses = &mut self.work.uses;
                let place = usize::from(index);
                if uses.len() <= place {
                    uses.resize(place + 1, 0);
                }
                uses[place] = uses[place].saturating_add(1);
                self.work.parts.push(Content::Slot {
                    index,
                    optional: token == 0x0e,
                });
                Ok(())
            }
            other => Err(self.unknown(other)),
        }
    }

    /// A value in the token stream; nearly always text.
    fn value(&mut self) -> Result<(), DecodeError> {
        let kind = self.cur.u8("value type")?;
        match kind {
            kind::STRING => self.counted_text("value text"),
            kind::ANSI_STRING => {
                let count = self.cur.u16("value text length")?;
                let bytes = self.cur.take("value text", count.into())?;
                self.spend(count.into())?;
                self.literal(|out| push_ansi(bytes, out));
                Ok(())
            }
            _ => {
                let Some(size) = fixed_size(kind) else {
                    return Err(DecodeError::Unknown {
                        field: "value type",
                        at: self.cur.at() - 1,
                        value: kind.into(),
                    });
                };
                let bytes = self.cur.take("value", size)?;
                let value = self.tables.keep_value(kind, bytes);
                self.work.parts.push(value);
                Ok(())
            }
        }
    }

    fn counted_text(&mut self, field: &'static str) -> Result<(), DecodeError> {
        let units = self.cur.u16(field)?;
        let text = Utf16(self.cur.take(field, usize::from(units) * 2)?);
        self.spend(units.into())?;
        self.literal(|out| text.push_to(out));
        Ok(())
    }

    /// A processing instruction, whose token was read, kept as a member `?target`.
    fn instruction(&mut self) -> Result<(), DecodeError> {
        let key = self.name(Prefix::Instruction)?;
        let parts = self.work.parts.len();
        if self.peek() == Some(0x0b) {
            self.token()?;
            self.counted_text("processing instruction")?;
        }
        let node = Node::Text(self.close_content(parts));
        self.work.pending.push(Pending {
            key,
            list: false,
            item: Item {
                node,
                depends_on: None,
            },
        });
        Ok(())
    }

    /// Adds text to the content that is open, as one literal with the text before it.
    fn literal(&mut self, push: impl FnOnce(&mut Vec<u8>)) {
        self.work.scratch.clear();
        push(&mut self.work.scratch);
        let text = self.tables.keep("", as_text(&self.work.scratch));
        self.work.brings(text);
        if let Some(Content::Literal(last)) = self.work.parts.last_mut()
            && last.start + last.len == text.start
        {
            last.len += text.len;
            return;
        }
        self.work.parts.push(Content::Literal(text));
    }

    fn close_content(&mut self, mark: usize) -> Content {
        let parts = &mut self.work.parts;
        let content = match parts[mark..] {
            [] => Content::Empty,
            [content] => content,
            ref several => {
                let first = self.tables.parts.len() as u32;
                self.tables.parts.extend_from_slice(several);
                Content::Mixed {
                    first,
                    count: several.len() as u32,
                }
            }
        };
        parts.truncate(mark);
        content
    }

    /// Groups the pending members from `mark` on by key, in the order of first sight.
    fn close(&mut self, mark: usize, parts: usize) -> Result<Element, DecodeError> {
        let content = self.close_content(parts);
        let tables = &mut *self.tables;
        let pending = &self.work.pending[mark..];
        let first = tables.members.len();
        let group_of = |tables: &Tables, key: Str| {
            let key = tables.str(key);
            let known = tables.members[first..].iter();
            known
                .clone()
                .position(|member| tables.str(member.key) == key)
        };
        if pending.len() <= FEW_MEMBERS {
            for (index, member) in pending.iter().enumerate() {
                if group_of(tables, member.key).is_some() {
                    continue;
                }
                let items = tables.items.len() as u32;
                let mut list = member.list;
                for other in &pending[index..] {
                    if tables.str(other.key) == tables.str(member.key) {
                        list |= other.list;
                        tables.items.push(other.item);
                    }
                }
                tables.push_member(member.key, list, items);
            }
        } else {
            let mut groups: HashMap<&str, usize> = HashMap::with_capacity(pending.len());
            let mut order: Vec<(usize, usize)> = Vec::with_capacity(pending.len());
            for (index, member) in pending.iter().enumerate() {
                let next = groups.len();
                order.push((*groups.entry(tables.str(member.key)).or_insert(next), index));
            }
            drop(groups);
            order.sort_unstable();
            for group in order.chunk_by(|a, b| a.0 == b.0) {
                let items = tables.items.len() as u32;
                let members = group.iter().map(|(_, index)| &pending[*index]);
                let list = members.clone().any(|member| member.list);
                tables.items.extend(members.map(|member| member.item));
                tables.push_member(pending[group[0].1].key, list, items);
            }
        }
        self.work.pending.truncate(mark);
        Ok(Element {
            content,
            first: first as u32,
            count: (tables.members.len() - first) as u32,
        })
    }

    /// Ends an element: what it is to the one around it.
    fn finish(
        &mut self,
        key: Str,
        depends_on: Option<u16>,
        depth: usize,
        members: usize,
        parts: usize,
    ) -> Result<Pending, DecodeError> {
        let is_data = self.tables.str(key) == "Data";
        let plain = |key, list, content| Pending {
            key,
            list,
            item: Item {
                node: Node::Text(content),
                depends_on,
            },
        };
        match self.work.pending[members..] {
            [] => {
                let content = self.close_content(parts);
                return Ok(plain(key, is_data, content));
            }
            // `<Data Name="key">value</Data>`
            [
                Pending {
                    key: name,
                    item:
                        Item {
                            node: Node::Text(Content::Literal(called)),
                            ..
                        },
                    ..
                },
            ] if is_data && called.len > 0 && self.tables.str(name) == "@Name" => {
                self.work.pending.truncate(members);
                let content = self.close_content(parts);
                return Ok(plain(called, false, content));
            }
            _ => {}
        }
        let element = self.close(members, parts)?;
        if depth == 0 && self.event.is_none() && self.tables.str(key) == "Event" {
            self.event = Some(self.tables.take_event(element));
        }
        let index = self.tables.elements.len() as u32;
        self.tables.elements.push(element);
        Ok(Pending {
            key,
            list: is_data,
            item: Item {
                node: Node::Element(index),
                depends_on,
            },
        })
    }

    fn name(&mut self, prefix: Prefix) -> Result<Str, DecodeError> {
        let at = self.cur.u32("name offset")?;
        let (name, hash) = self.name_at(at)?;
        let known = self.work.names.place(at, prefix);
        if let Some((_, _, text)) = known.filter(|known| (known.0, known.1) == (at, prefix)) {
            self.work.brings(text);
            return Ok(text);
        }
        if !is_name(name, hash) {
            return Err(DecodeError::Invalid {
                field: "name",
                at: self.tokens.base + u64::from(at),
                why: "neither its hash nor its characters are those of a name".to_owned(),
            });
        }
        let text = name.to_str(&mut self.work.scratch);
        let text = self.tables.keep(prefix.text(), text);
        *known = Some((at, prefix, text));
        self.work.brings(text);
        Ok(text)
    }

    /// The name at that offset in the chunk and its hash; it is passed over where it stands right here.
    fn name_at(&mut self, at: u32) -> Result<(Utf16<'c>, u16), DecodeError> {
        let (chunk, base) = (self.tokens.chunk, self.tokens.base);
        let stored = chunk.get(at as usize..).unwrap_or_default();
        self.work
            .saw(at as usize..at as usize + NAME_HEAD_BYTES.min(stored.len()));
        let mut name = Cursor::new(stored, base + u64::from(at));
        name.skip("next name", 4)?;
        let hash = name.u16("name hash")?;
        let units = name.u16("name length")?;
        let text = name.take("name", usize::from(units) * 2)?;
        self.work
            .saw(at as usize..at as usize + NAME_HEAD_BYTES + text.len());
        let here = (self.cur.at() - base) as usize;
        let inline = here == at as usize;
        self.work.refs.push(NameRef {
            at: here - 4,
            inline,
            stored: at as usize + 4..at as usize + NAME_HEAD_BYTES + text.len(),
        });
        if inline {
            self.cur
                .skip("name", NAME_HEAD_BYTES + text.len() + NAME_END_BYTES)?;
        }
        Ok((Utf16(text), hash))
    }

    fn peek(&self) -> Option<u8> {
        self.cur.rest().first().copied()
    }

    fn token(&mut self) -> Result<u8, DecodeError> {
        self.spend(1)?;
        self.cur.u8("token")
    }

    /// Takes so many tokens, or units of text, off what may be compiled for this chunk.
    fn spend(&mut self, cost: usize) -> Result<(), DecodeError> {
        let limit = super::decoder::MAX_TOKENS;
        match self.work.budget.checked_sub(cost as u32) {
            Some(left) => {
                self.work.budget = left;
                Ok(())
            }
            None => Err(DecodeError::Limit {
                field: "tokens of a chunk's templates",
                at: self.cur.at(),
                value: u64::from(limit) + cost as u64,
                limit: limit.into(),
            }),
        }
    }

    /// `token`, which was read or is next, can't stand here.
    fn unknown(&self, token: u8) -> DecodeError {
        DecodeError::Unknown {
            field: "token",
            at: self.cur.at(),
            value: token.into(),
        }
    }
}
