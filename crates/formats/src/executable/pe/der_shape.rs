//! A walk over the tags and lengths of DER, before any decoder sees it.
//!
//! The decoders sort every set by comparing encodings, which takes time with the square of its
//! size: a megabyte of tiny attributes would take hours. So sets are counted first, and the depth
//! is bounded.

const DEPTH_LIMIT: usize = 32;
const NODE_LIMIT: usize = 65_536;
/// Real signatures have a handful of certificates and attributes.
const SET_LIMIT: usize = 64;
const SET: u8 = 0x31;
const CONSTRUCTED: u8 = 0x20;
const CONTEXT: u8 = 0x80;
const CLASS: u8 = 0xc0;

/// An element: its tag, its content, and what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Element<'a> {
    pub(super) tag: u8,
    pub(super) content: &'a [u8],
    pub(super) rest: &'a [u8],
}

/// The first element; `None` where tag or length are not DER, or the bytes end before it.
pub(super) fn element(bytes: &[u8]) -> Option<Element<'_>> {
    const LONG_TAG: u8 = 0x1f;
    let (&tag, rest) = bytes.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    if tag & LONG_TAG == LONG_TAG {
        return None;
    }
    let length = match first {
        0..=0x7f => usize::from(first),
        0x81..=0x84 => {
            let (digits, after) = rest.split_at_checked(usize::from(first & 0x7f))?;
            rest = after;
            digits
                .iter()
                .fold(0usize, |length, digit| length << 8 | usize::from(*digit))
        }
        // Indefinite lengths are BER.
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some(Element { tag, content, rest })
}

/// The elements of a constructed one's content, as far as they are sound.
pub(super) fn children(content: &[u8]) -> impl Iterator<Item = Element<'_>> {
    let mut rest = content;
    std::iter::from_fn(move || {
        let next = element(rest)?;
        rest = next.rest;
        Some(next)
    })
}

/// Checks that the first element of `bytes` can be decoded in reasonable time, and returns its
/// length.
pub(super) fn check(bytes: &[u8]) -> Result<usize, &'static str> {
    let root = element(bytes).ok_or("it does not begin with a DER element")?;
    let mut nodes = 0;
    walk(root, 0, &mut nodes)?;
    Ok(bytes.len() - root.rest.len())
}

fn walk(node: Element<'_>, depth: usize, nodes: &mut usize) -> Result<(), &'static str> {
    *nodes += 1;
    if *nodes > NODE_LIMIT {
        return Err("it has more than 65,536 elements");
    }
    if node.tag & CONSTRUCTED == 0 {
        return Ok(());
    }
    if depth == DEPTH_LIMIT {
        return Err("its elements nest more than 32 deep");
    }
    let is_set = node.tag == SET || node.tag & CLASS == CONTEXT;
    let mut rest = node.content;
    let mut count = 0;
    while !rest.is_empty() {
        let child = element(rest).ok_or("an element's length is not DER or leaves its parent")?;
        count += 1;
        if is_set && count > SET_LIMIT {
            return Err("a set has more than 64 members");
        }
        walk(child, depth + 1, nodes)?;
        rest = child.rest;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths() {
        let short = element(&[0x04, 2, 1, 2, 9]).expect("sound");
        assert_eq!(
            (short.tag, short.content, short.rest),
            (4, &[1, 2][..], &[9][..])
        );
        let long = element(&[0x04, 0x82, 0, 1, 7]).expect("sound");
        assert_eq!(long.content, [7]);
        assert_eq!(element(&[0x30, 0x80, 0, 0]), None);
        assert_eq!(element(&[0x04, 0x84, 0xff, 0xff, 0xff, 0xff, 1]), None);
        assert_eq!(element(&[0x1f, 1, 1]), None);
    }

    #[test]
    fn hostile_shapes_are_refused() {
        let mut deep = vec![0x05, 0x00];
        for _ in 0..40 {
            let mut outer = vec![0x30, deep.len() as u8];
            outer.append(&mut deep);
            deep = outer;
        }
        assert!(check(&deep).is_err());
        let mut wide = vec![0x31, 0x81, 2 * 65];
        wide.extend([5, 0].repeat(65));
        assert!(check(&wide).is_err());
        wide[0] = 0x30;
        assert_eq!(check(&wide), Ok(wide.len()));
    }
}
