//! Notes: the linkers' identities for a build.
//!
//! # Layout (in the file's byte order; name and content padded to 4 bytes)
//! | offset | bytes | field             |
//! |-------:|------:|-------------------|
//! |      0 |     4 | length of name    |
//! |      4 |     4 | length of content |
//! |      8 |     4 | type              |
//! |     12 |     – | name, content     |

use goblin::elf::{program_header, section_header};

use super::{Damages, Reader, Section, text};

const NOTES_LIMIT: u64 = 1 << 20;
const BUILD_ID_LIMIT: usize = 128;
const GNU_BUILD_ID: u32 = 3;
const GO_BUILD_ID: u32 = 4;

impl Reader<'_> {
    /// GNU's and Go's build ids.
    pub(super) fn build_ids(
        &self,
        sections: &[Section],
        damages: &mut Damages,
    ) -> (Option<Vec<u8>>, Option<String>) {
        let segments = self
            .segments
            .iter()
            .filter(|segment| segment.p_type == program_header::PT_NOTE)
            .map(|segment| (segment.p_offset, segment.p_filesz));
        let sections = sections
            .iter()
            .filter(|section| section.header.sh_type == section_header::SHT_NOTE)
            .map(|section| (section.header.sh_offset, section.header.sh_size));
        let (mut gnu, mut go) = (None, None);
        let mut left = NOTES_LIMIT;
        for (at, size) in segments.chain(sections) {
            let size = size.min(left);
            left -= size;
            let bytes = damages.keep("build_id", at, self.source.read(at, size as usize));
            let Some(bytes) = bytes else { continue };
            self.notes(&bytes, |name, kind, content| match (name, kind) {
                (b"GNU", GNU_BUILD_ID) if gnu.is_none() && content.len() <= BUILD_ID_LIMIT => {
                    gnu = Some(content.to_vec());
                }
                (b"Go", GO_BUILD_ID) if go.is_none() && content.len() <= BUILD_ID_LIMIT => {
                    go = Some(text::lossless(content));
                }
                _ => {}
            });
        }
        (gnu, go)
    }

    fn notes(&self, mut bytes: &[u8], mut each: impl FnMut(&[u8], u32, &[u8])) {
        const HEAD: usize = 12;
        let field = |bytes: &[u8], at| self.order.u32(bytes, at);
        while let (Some(name), Some(content), Some(kind)) =
            (field(bytes, 0), field(bytes, 4), field(bytes, 8))
        {
            let (name, content) = (name as usize, content as usize);
            let content_at = HEAD + name.next_multiple_of(4);
            let (Some(name), Some(content_bytes)) = (
                bytes.get(HEAD..HEAD + name),
                bytes.get(content_at..).and_then(|rest| rest.get(..content)),
            ) else {
                return;
            };
            each(text::until_zero(name), kind, content_bytes);
            let step = content_at + content.next_multiple_of(4);
            bytes = bytes.get(step..).unwrap_or_default();
        }
    }
}
