//! A stream that may be of some artefact's kind.

use std::cell::OnceCell;

use scelle_event::EvidencePath;
use scelle_formats::{ReadAt, ReadAtExt};

/// What is known of a stream before anyone parses it: path, size, and its first bytes, which are
/// read only when somebody asks.
pub struct Candidate<'a> {
    /// The file's path in its volume.
    pub path: &'a EvidencePath,
    /// The stream's name; `None` is the unnamed one.
    pub stream: Option<&'a EvidencePath>,
    /// Its logical size.
    pub size_bytes: u64,
    open: Box<dyn Fn() -> Option<Box<dyn ReadAt + 'a>> + 'a>,
    source: OnceCell<Option<Box<dyn ReadAt + 'a>>>,
    head: OnceCell<Vec<u8>>,
}

impl<'a> Candidate<'a> {
    /// How many of the first bytes a candidate shows.
    pub const HEAD_BYTES: usize = 4096;

    /// A candidate; `open` is called at most once, and only if its content is looked at.
    pub fn new(
        path: &'a EvidencePath,
        stream: Option<&'a EvidencePath>,
        size_bytes: u64,
        open: impl Fn() -> Option<Box<dyn ReadAt + 'a>> + 'a,
    ) -> Self {
        Self {
            path,
            stream,
            size_bytes,
            open: Box::new(open),
            source: OnceCell::new(),
            head: OnceCell::new(),
        }
    }

    /// The first bytes, at most [`HEAD_BYTES`](Self::HEAD_BYTES); empty where they can't be read
    /// (whoever parses or collects the stream then records that loss).
    pub fn head(&self) -> &[u8] {
        self.head.get_or_init(|| {
            let cap = Self::HEAD_BYTES;
            self.bytes()
                .and_then(|bytes| bytes.read_range(0..cap as u64, cap).ok())
                .unwrap_or_default()
        })
    }

    /// All of its bytes, for a cheap probe past the head.
    pub fn bytes(&self) -> Option<&dyn ReadAt> {
        self.source
            .get_or_init(|| (self.open)())
            .as_ref()
            .map(|source| source as &dyn ReadAt)
    }

    /// Whether the stream has no name of its own.
    pub fn is_unnamed(&self) -> bool {
        self.stream.is_none()
    }

    /// Whether the file's name ends so, in any ASCII case.
    pub fn name_ends_with(&self, ending: &str) -> bool {
        let name = self.path.name();
        name.len() >= ending.len()
            && name[name.len() - ending.len()..].eq_ignore_ascii_case(ending.as_bytes())
    }
}
