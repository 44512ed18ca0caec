//! Member names: labels that no checker, extractor or file system stumbles over.
//!
//! `=XX` (upper-case hex of a byte) stands for what is dangerous, `=uD800` for an unpaired
//! surrogate. `%` can't be the escape: RFC 8493 wants it encoded once more in manifests, and
//! then checkers disagree about the name. The exact name of a file is in `files.jsonl`.

use std::collections::HashSet;

use scelle_event::{EvidencePath, StreamId};
use scelle_evidence::{Entry, FileId};
use unicode_normalization::{IsNormalized, UnicodeNormalization, char::canonical_combining_class};

/// The longest component, in bytes.
const COMPONENT_BYTES: usize = 120;
/// The longest member name, in bytes, without the bundle's own folder.
const PATH_BYTES: usize = 400;
/// `=~` and 16 hex digits.
const CUT_MARK_BYTES: usize = 18;

/// Gives every payload file its member name, unique after case folding.
///
/// It keeps 8 bytes a name (and those of the folders), so names that differ may look alike once
/// in 2⁶⁴: the later one is then marked as a clash, which does no harm.
#[derive(Default)]
pub(crate) struct Names {
    files: HashSet<u64>,
    folders: HashSet<u64>,
}

impl Names {
    /// The member name of a stream; the same streams in the same order get the same names.
    pub(crate) fn assign(
        &mut self,
        volume: &str,
        entry: &Entry,
        stream: Option<&EvidencePath>,
    ) -> String {
        let wanted = member_name(volume, entry, stream);
        let mut name = wanted.clone();
        let mut attempt = 0;
        while let Some(clash) = self.clash(&name) {
            attempt += 1;
            name = marked(&wanted, clash, entry.id, attempt);
        }
        self.insert(&name);
        name
    }

    /// Takes a name that was assigned before; whether it is free.
    pub(crate) fn admit(&mut self, name: &str) -> bool {
        let is_free = self.clash(name).is_none();
        if is_free {
            self.insert(name);
        }
        is_free
    }

    /// Whether no name was taken.
    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    fn insert(&mut self, name: &str) {
        self.files.insert(folded_key(name));
        for (at, _) in name.match_indices('/') {
            self.folders.insert(folded_key(&name[..at]));
        }
    }

    /// Where the component ends that can't be, if there is one: a file of the same folded name,
    /// a folder of the file's name, or a file of a folder's name.
    fn clash(&self, name: &str) -> Option<usize> {
        for (at, _) in name.match_indices('/') {
            if self.files.contains(&folded_key(&name[..at])) {
                return Some(at);
            }
        }
        let key = folded_key(name);
        (self.files.contains(&key) || self.folders.contains(&key)).then_some(name.len())
    }
}

/// `wanted` with the mark of a clash after the component that ends at `at`.
fn marked(wanted: &str, at: usize, id: Option<FileId>, attempt: usize) -> String {
    let id = id.unwrap_or(FileId {
        entry: 0,
        sequence: 0,
    });
    let mut mark = format!("=~{}-{}", id.entry, id.sequence);
    if attempt > 1 || id.entry == 0 {
        mark.push_str(&format!("-{attempt}"));
    }
    // A later clash may lie deeper than the first: always mark what was wanted, at the place
    // that clashes now or at its end.
    let at = if wanted.is_char_boundary(at) && at <= wanted.len() {
        at
    } else {
        wanted.len()
    };
    let begin = wanted[..at].rfind('/').map_or(0, |slash| slash + 1);
    let component = &wanted[begin..at];
    let room = COMPONENT_BYTES.saturating_sub(mark.len());
    format!(
        "{}{}{mark}{}",
        &wanted[..begin],
        &component[..safe_cut(component, room)],
        &wanted[at..]
    )
}

/// The member name that a stream has of an entry that is not deleted, where no other file takes it.
pub(crate) fn plain_name(id: &StreamId) -> String {
    name_of(&id.volume, "", &id.path, id.stream.as_ref())
}

/// The member name of a stream, before clashes.
fn member_name(volume: &str, entry: &Entry, stream: Option<&EvidencePath>) -> String {
    let mut folder = String::new();
    if entry.deleted {
        let (number, sequence) = entry.id.map_or((0, 0), |id| (id.entry, id.sequence));
        folder = format!("/=deleted/{number}-{sequence}");
    }
    name_of(volume, &folder, &entry.path, stream)
}

fn name_of(
    volume: &str,
    folder: &str,
    path: &EvidencePath,
    stream: Option<&EvidencePath>,
) -> String {
    let mut name = String::from("data/");
    push_component(&mut name, volume.as_bytes(), None);
    name.push_str(folder);
    let mut components = path.components().peekable();
    if components.peek().is_none() {
        // The root's own streams, or an entry whose name is lost.
        name.push('/');
        push_component(&mut name, b".", stream);
    }
    while let Some(component) = components.next() {
        name.push('/');
        let stream = stream.filter(|_| components.peek().is_none());
        push_component(&mut name, component, stream);
    }
    if name.len() > PATH_BYTES {
        let mark = cut_mark(&name);
        let limit = PATH_BYTES - CUT_MARK_BYTES;
        // The mark makes the last component longer, which has its own limit.
        let begin = name[..name.floor_char_boundary(limit)]
            .rfind('/')
            .map_or(0, |slash| slash + 1);
        let limit = limit.min(begin + COMPONENT_BYTES - CUT_MARK_BYTES);
        name.truncate(safe_cut(&name, limit));
        name.push_str(&mark);
    }
    name
}

fn push_component(out: &mut String, component: &[u8], stream: Option<&EvidencePath>) {
    let mut escaped = String::with_capacity(component.len());
    escape(&mut escaped, component);
    if let Some(stream) = stream {
        escaped.push_str("=3A");
        escape(&mut escaped, stream.as_bytes());
    }
    if escaped.len() > COMPONENT_BYTES {
        let mark = cut_mark(&escaped);
        escaped.truncate(safe_cut(&escaped, COMPONENT_BYTES - CUT_MARK_BYTES));
        escaped.push_str(&mark);
    }
    out.push_str(&escaped);
}

fn cut_mark(whole: &str) -> String {
    format!("=~{}", &blake3::hash(whole.as_bytes()).to_hex()[..16])
}

/// The greatest cut at or below `limit` that parts neither a character nor an escape.
fn safe_cut(text: &str, limit: usize) -> usize {
    let mut at = text.floor_char_boundary(limit.min(text.len()));
    // `=XX` and `=uXXXX` are at most six bytes: an escape that begins in the last five bytes
    // before the cut may be parted.
    if let Some(equals) = text[..at].rfind('=') {
        let length = match text.as_bytes().get(equals + 1) {
            Some(b'u') => 6,
            _ => 3,
        };
        if equals + length > at {
            at = equals;
        }
    }
    at
}

/// Escapes one name: what lies between two slashes, or a stream's name.
fn escape(out: &mut String, name: &[u8]) {
    let whole_is_nfc = std::str::from_utf8(name).is_ok_and(unicode_normalization::is_nfc);
    let edges = Edges::of(name);
    let device = device_letter(name);
    let mut at = 0;
    while at < name.len() {
        let rest = &name[at..];
        let Some(character) = first_char(rest) else {
            if let [0xED, second @ 0xA0..=0xBF, third @ 0x80..=0xBF, ..] = rest {
                let unit = 0xD000 | u16::from(second & 0x3F) << 6 | u16::from(third & 0x3F);
                out.push_str(&format!("=u{unit:04X}"));
                at += 3;
            } else {
                push_hex(out, &rest[..1]);
                at += 1;
            }
            continue;
        };
        let width = character.len_utf8();
        let dangerous = is_dangerous(character)
            || (at == 0 && device)
            || at < edges.text_begin
            || at >= edges.text_end
            || (!whole_is_nfc && may_change(character));
        if dangerous {
            push_hex(out, &rest[..width]);
        } else {
            out.push(character);
        }
        at += width;
    }
}

fn push_hex(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        out.push_str(&format!("={byte:02X}"));
    }
}

fn first_char(bytes: &[u8]) -> Option<char> {
    let head = &bytes[..bytes.len().min(4)];
    match std::str::from_utf8(head) {
        Ok(text) => text.chars().next(),
        Err(error) => std::str::from_utf8(&head[..error.valid_up_to()])
            .ok()
            .and_then(|text| text.chars().next()),
    }
}

/// Characters that are escaped wherever they stand. `/` is none of a component's: a stream's
/// name may hold one.
fn is_dangerous(character: char) -> bool {
    matches!(
        character,
        '=' | '%' | '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|' | '/'
    ) || character.is_control()
        // Unicode's other line breaks; U+0085 is a control.
        || matches!(character, '\u{2028}' | '\u{2029}')
        // A byte-order mark at a line's start is dropped by some readers.
        || character == '\u{FEFF}'
}

/// Whether normalisation may change the character, alone or with its neighbours.
fn may_change(character: char) -> bool {
    canonical_combining_class(character) != 0
        || unicode_normalization::is_nfc_quick(std::iter::once(character)) != IsNormalized::Yes
        || std::iter::once(character).nfc().ne([character])
}

/// Where the text begins and ends that white space (at both ends) and dots (at the end) enclose.
struct Edges {
    text_begin: usize,
    text_end: usize,
}

impl Edges {
    fn of(name: &[u8]) -> Self {
        let mut text_begin = 0;
        while let Some(character) = first_char(&name[text_begin..]) {
            if !character.is_whitespace() {
                break;
            }
            text_begin += character.len_utf8();
        }
        let mut text_end = name.len();
        while text_end > 0 {
            let begin = (0..text_end)
                .rev()
                .find(|at| name[*at] & 0xC0 != 0x80)
                .unwrap_or(0);
            let is_edge = first_char(&name[begin..text_end]).is_some_and(|character| {
                (character.is_whitespace() || character == '.')
                    && character.len_utf8() == text_end - begin
            });
            if !is_edge {
                break;
            }
            text_end = begin;
        }
        Self {
            text_begin,
            text_end,
        }
    }
}

/// Whether Windows takes the name for a device: `NUL`, `com1.txt`, `CONIN$`.
fn device_letter(name: &[u8]) -> bool {
    let stem = name.split(|byte| *byte == b'.').next().unwrap_or(name);
    let Ok(stem) = std::str::from_utf8(stem) else {
        return false;
    };
    let stem = stem.trim_end().to_ascii_uppercase();
    if matches!(
        stem.as_str(),
        "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$"
    ) {
        return true;
    }
    let Some(port) = stem
        .strip_prefix("COM")
        .or_else(|| stem.strip_prefix("LPT"))
    else {
        return false;
    };
    let mut digits = port.chars();
    matches!(
        (digits.next(), digits.next()),
        (Some('0'..='9' | '¹' | '²' | '³'), None)
    )
}

/// 64 bits of BLAKE3 of the folded name.
pub(crate) fn folded_key(name: &str) -> u64 {
    let hash = blake3::hash(fold(name).as_bytes());
    let mut key = [0; 8];
    key.copy_from_slice(&hash.as_bytes()[..8]);
    u64::from_le_bytes(key)
}

/// A name as a file system that ignores case sees it, or more alike than that.
fn fold(name: &str) -> String {
    if name.is_ascii() {
        return name.to_ascii_lowercase();
    }
    name.chars()
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
        .collect()
}

/// Why a member name could not have been made here, if so: what an extractor would stumble over.
pub(crate) fn complaint(name: &str) -> Option<&'static str> {
    if name.len() > PATH_BYTES + 2 * CUT_MARK_BYTES {
        return Some("is longer than any name made here");
    }
    for component in name.split('/') {
        let why = match component {
            "" => "has an empty component",
            "." | ".." => "climbs out of the bundle",
            _ if component.ends_with(['.', ' ']) => "ends a component in a dot or a blank",
            _ if component.chars().any(|c| c != '=' && is_dangerous(c)) => {
                "holds a character that is always escaped"
            }
            _ if device_letter(component.as_bytes()) => "is a Windows device",
            _ if !unicode_normalization::is_nfc(component) => "is not in normal form C",
            _ => continue,
        };
        return Some(why);
    }
    None
}

#[cfg(test)]
mod tests {
    use scelle_evidence::{Attributes, Details, EntryKind, Times};

    use super::*;

    fn entry(path: &[u8], number: u64) -> Entry {
        Entry {
            path: EvidencePath::from_bytes(path),
            kind: EntryKind::File,
            id: (number > 0).then_some(FileId {
                entry: number,
                sequence: 2,
            }),
            times: Times::default(),
            names: Vec::new(),
            attributes: Attributes(0),
            deleted: false,
            orphan: false,
            link_target: None,
            details: Details::default(),
            streams: Vec::new(),
        }
    }

    fn escaped(name: &[u8]) -> String {
        let mut out = String::new();
        escape(&mut out, name);
        out
    }

    #[test]
    fn what_is_dangerous_is_escaped() {
        for (name, wanted) in [
            (&b"plain name.txt"[..], "plain name.txt"),
            (b"100%=1", "100=25=3D1"),
            (b"a\\b:c*d?e\"f<g>h|i", "a=5Cb=3Ac=2Ad=3Fe=22f=3Cg=3Eh=7Ci"),
            (b"a\nb\x7f", "a=0Ab=7F"),
            ("a\u{85}b\u{2028}".as_bytes(), "a=C2=85b=E2=80=A8"),
            (b"  a . . ", "=20=20a=20=2E=20=2E=20"),
            ("\u{3000}a".as_bytes(), "=E3=80=80a"),
            (b"..", "=2E=2E"),
            (b"con", "=63on"),
            (b"Nul.tar.gz", "=4Eul.tar.gz"),
            (b"COM1", "=43OM1"),
            (b"COM10", "COM10"),
            (b"console", "console"),
            (b"a\xED\xA0\x80b", "a=uD800b"),
            (b"a\xFFb", "a=FFb"),
            ("\u{e9}".as_bytes(), "\u{e9}"),
            ("e\u{301}".as_bytes(), "e=CC=81"),
            ("\u{212b}".as_bytes(), "=E2=84=AB"),
        ] {
            assert_eq!(escaped(name), wanted);
        }
    }

    #[test]
    fn clashes_are_marked() {
        let mut names = Names::default();
        let mut assign = |path: &[u8], number| names.assign("v", &entry(path, number), None);
        assert_eq!(assign(b"Dir/File", 5), "data/v/Dir/File");
        assert_eq!(assign(b"dir/FILE", 6), "data/v/dir/FILE=~6-2");
        assert_eq!(assign(b"dir/FILE", 6), "data/v/dir/FILE=~6-2-2");
        assert_eq!(
            assign(b"dir", 7),
            "data/v/dir=~7-2",
            "a folder has the name"
        );
        assert_eq!(assign(b"dir/file/x", 8), "data/v/dir/file=~8-2/x");
        assert_eq!(assign(b"dir/file", 0), "data/v/dir/file=~0-0-1");
        let mut deleted = entry(b"Dir/File", 9);
        deleted.deleted = true;
        assert_eq!(
            names.assign("v", &deleted, Some(&EvidencePath::from_bytes(b"s"))),
            "data/v/=deleted/9-2/Dir/File=3As"
        );
    }

    #[test]
    fn long_names_are_cut_and_stay_different() {
        let mut names = Names::default();
        let mut long = vec![b'%'; 200];
        let first = names.assign("v", &entry(&long, 1), None);
        long.push(b'x');
        let second = names.assign("v", &entry(&long, 2), None);
        assert_ne!(first, second);
        for name in [&first, &second] {
            let component = &name["data/v/".len()..];
            assert!(component.len() <= COMPONENT_BYTES, "{component}");
            assert!(component[..component.len() - CUT_MARK_BYTES].len() % 3 == 0);
            assert_eq!(complaint(name), None);
        }
        let deep = ["component"; 90].join("/").into_bytes();
        let name = names.assign("v", &entry(&deep, 3), None);
        assert!((PATH_BYTES - COMPONENT_BYTES..=PATH_BYTES).contains(&name.len()));
        assert_eq!(complaint(&name), None);
    }

    #[test]
    fn names_that_climb_are_complained_of() {
        for name in [
            "data/../x",
            "/x",
            "a//b",
            "a/./b",
            "C:/x",
            "a\\b",
            "a/nul",
            "a/b.",
            "a\0",
        ] {
            assert!(complaint(name).is_some(), "{name}");
        }
    }
}
