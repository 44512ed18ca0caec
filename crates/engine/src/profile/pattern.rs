//! Path patterns, from a volume's root.
//!
//! | written | means |
//! |---------|-------|
//! | `*`, `?` | any text, any one character, inside one component |
//! | `**` | any number of components, none included |
//! | `{a,b}` | either, `/` allowed inside |
//! | `%U` | each user's profile folder, from Windows XP to 11, system accounts included |
//! | a `/` at the end | everything below that folder |
//! | `:name` at the end | that stream; `:*` each named one; without a colon the unnamed one |
//! | `\` | takes the next character as it stands |
//!
//! Upper and lower case are the same, as they are on NTFS.

/// Where Windows keeps the profiles of users and of the accounts that services run under.
const USER_PROFILES: &str = "{Users/*,Documents and Settings/*,Windows/ServiceProfiles/*,\
     Windows/System32/config/systemprofile,Windows/SysWOW64/config/systemprofile}";

/// More alternatives than any sensible pattern has.
const MAX_ALTERNATIVES: usize = 4096;

/// Which of an entry's streams a pattern asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum StreamPattern {
    /// The unnamed one.
    Unnamed,
    /// Those whose name fits.
    Named(Glob),
}

impl StreamPattern {
    pub(crate) fn fits(&self, name: Option<&[u8]>) -> bool {
        match (self, name) {
            (Self::Unnamed, None) => true,
            (Self::Named(glob), Some(name)) => glob.fits(&fold(name)),
            _ => false,
        }
    }
}

/// One component of a pattern.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Component {
    /// This name, folded.
    Name(Vec<u8>),
    /// Any name that fits.
    Glob(Glob),
    /// Any number of components.
    Deep,
}

/// A pattern of one alternative, ready to be matched.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Pattern {
    pub(crate) components: Vec<Component>,
    pub(crate) stream: StreamPattern,
}

impl Pattern {
    /// Every alternative of a written pattern.
    pub(crate) fn parse(text: &str) -> Result<Vec<Self>, String> {
        let mut texts = Vec::new();
        alternatives(&text.replace("%U", USER_PROFILES), &mut texts)?;
        texts.iter().map(|text| Self::parse_one(text)).collect()
    }

    fn parse_one(text: &str) -> Result<Self, String> {
        let (path, stream) = match find_plain(text, ':') {
            Some(at) => {
                let stream = &text[at + 1..];
                if stream.is_empty() || find_plain(stream, '/').is_some() {
                    return Err("after the colon stands a stream's name".to_owned());
                }
                (&text[..at], StreamPattern::Named(Glob::parse(stream)?))
            }
            None => (text, StreamPattern::Unnamed),
        };
        if path.starts_with('/') {
            return Err("a pattern begins below the volume's root, without a `/`".to_owned());
        }
        let mut components = Vec::new();
        let mut rest = path;
        while let Some(at) = find_plain(rest, '/') {
            components.push(Component::parse(&rest[..at])?);
            rest = &rest[at + 1..];
        }
        components.push(if rest.is_empty() && !path.is_empty() {
            Component::Deep
        } else {
            Component::parse(rest)?
        });
        Ok(Self { components, stream })
    }
}

impl Component {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "" => Err("a component is empty".to_owned()),
            "**" => Ok(Self::Deep),
            _ => {
                let glob = Glob::parse(text)?;
                Ok(match glob.literal() {
                    Some(name) => Self::Name(name),
                    None => Self::Glob(glob),
                })
            }
        }
    }
}

/// A piece of a [`Glob`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Piece {
    Byte(u8),
    /// One character: a byte that begins one, and those that carry it on.
    One,
    Many,
}

/// Text with `*` and `?`, folded.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Glob(Vec<Piece>);

impl Glob {
    fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            match character {
                '*' => pieces.push(Piece::Many),
                '?' => pieces.push(Piece::One),
                '\\' => match characters.next() {
                    Some(plain) => push_folded(&mut pieces, plain),
                    None => return Err("nothing follows the last `\\`".to_owned()),
                },
                plain => push_folded(&mut pieces, plain),
            }
        }
        Ok(Self(pieces))
    }

    fn literal(&self) -> Option<Vec<u8>> {
        self.0
            .iter()
            .map(|piece| match piece {
                Piece::Byte(byte) => Some(*byte),
                Piece::One | Piece::Many => None,
            })
            .collect()
    }

    /// Whether a folded name fits; linear but for the last `*`, which alone is tried again.
    pub(crate) fn fits(&self, name: &[u8]) -> bool {
        let (mut piece, mut at) = (0, 0);
        let mut retry: Option<(usize, usize)> = None;
        loop {
            match self.0.get(piece) {
                None if at == name.len() => return true,
                Some(Piece::Many) => {
                    retry = Some((piece + 1, at));
                    piece += 1;
                    continue;
                }
                Some(Piece::One) if at < name.len() => {
                    at += character_len(&name[at..]);
                    piece += 1;
                    continue;
                }
                Some(Piece::Byte(byte)) if name.get(at) == Some(byte) => {
                    at += 1;
                    piece += 1;
                    continue;
                }
                _ => {}
            }
            match &mut retry {
                Some((after, from)) if *from < name.len() => {
                    *from += 1;
                    (piece, at) = (*after, *from);
                }
                _ => return false,
            }
        }
    }
}

fn push_folded(pieces: &mut Vec<Piece>, character: char) {
    let mut buffer = [0; 4];
    let bytes = character.encode_utf8(&mut buffer).as_bytes();
    pieces.extend(fold(bytes).iter().map(|byte| Piece::Byte(*byte)));
}

fn character_len(bytes: &[u8]) -> usize {
    let more = bytes[1..]
        .iter()
        .take_while(|byte| **byte & 0xC0 == 0x80)
        .count();
    1 + more.min(3)
}

/// A name in which upper and lower case are the same.
pub(crate) fn fold(name: &[u8]) -> Vec<u8> {
    if name.is_ascii() {
        return name.to_ascii_lowercase();
    }
    let mut folded = Vec::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        for character in chunk.valid().chars() {
            let lower = character.to_lowercase();
            // What grows when folded (one character does) stays as it is, as on NTFS.
            let lower = if lower.len() == 1 {
                lower.last().unwrap_or(character)
            } else {
                character
            };
            let mut buffer = [0; 4];
            folded.extend_from_slice(lower.encode_utf8(&mut buffer).as_bytes());
        }
        folded.extend_from_slice(chunk.invalid());
    }
    folded
}

/// Where `wanted` stands unescaped.
pub(crate) fn find_plain(text: &str, wanted: char) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().find_map(|(at, character)| {
        let plain = !escaped;
        escaped = plain && character == '\\';
        (plain && character == wanted).then_some(at)
    })
}

/// Writes out `{a,b}`, the first pair of braces first; pairs may stand inside pairs.
fn alternatives(text: &str, out: &mut Vec<String>) -> Result<(), String> {
    if out.len() >= MAX_ALTERNATIVES {
        return Err(format!("it has more than {MAX_ALTERNATIVES} alternatives"));
    }
    let Some(open) = find_plain(text, '{') else {
        out.push(text.to_owned());
        return Ok(());
    };
    let (commas, close) = split_braces(text, open).ok_or("a `{` is not closed")?;
    let mut start = open + 1;
    for end in commas.into_iter().chain([close]) {
        let choice = &text[start..end];
        let chosen = format!("{}{choice}{}", &text[..open], &text[close + 1..]);
        alternatives(&chosen, out)?;
        start = end + 1;
    }
    Ok(())
}

/// The commas between the choices of the brace at `open`, and the brace that closes it.
fn split_braces(text: &str, open: usize) -> Option<(Vec<usize>, usize)> {
    let (mut commas, mut depth, mut escaped) = (Vec::new(), 0, false);
    for (at, character) in text[open..].char_indices() {
        let plain = !escaped;
        escaped = plain && character == '\\';
        match character {
            '{' if plain => depth += 1,
            '}' if plain && depth == 1 => return Some((commas, open + at)),
            '}' if plain => depth -= 1,
            ',' if plain && depth == 1 => commas.push(open + at),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        let cases: &[(&str, &str, bool)] = &[
            ("*.evtx", "Security.EVTX", true),
            ("*.evtx", "Security.evtx.bak", false),
            ("$I*", "$I30", true),
            ("a?c", "aéc", true),
            ("a?c", "ac", false),
            ("*a*b*c", "xxaxbxbxc", true),
            ("*a*b*c", "xxaxbxbx", false),
            ("\\*", "*", true),
            ("\\*", "x", false),
            ("*", "", true),
        ];
        for (pattern, name, fits) in cases {
            let glob = Glob::parse(pattern).expect("a sound glob");
            assert_eq!(glob.fits(&fold(name.as_bytes())), *fits, "{pattern} {name}");
        }
    }

    #[test]
    fn alternatives_and_streams() {
        let users = Pattern::parse("%U/NTUSER.DAT{,.LOG1}").expect("sound");
        assert_eq!(users.len(), 10);
        let nested = Pattern::parse("{a,{b,c}{d,e},\\{f}x").expect("sound");
        assert_eq!(nested.len(), 6);
        let stream = &Pattern::parse("$Extend/$UsnJrnl:$J").expect("sound")[0];
        assert!(stream.stream.fits(Some(b"$j")));
        assert!(!stream.stream.fits(None));
        let below = &Pattern::parse("Windows/Prefetch/").expect("sound")[0];
        assert_eq!(below.components.last(), Some(&Component::Deep));
        for wrong in ["", "/x", "a//b", "{a", "x:", "x\\", "{a,{b}"] {
            assert!(Pattern::parse(wrong).is_err(), "{wrong}");
        }
    }
}
