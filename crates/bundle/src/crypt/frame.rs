//! Partial lengths (RFC 9580, section 4.2.1.4) by one rule, so that where they stand is known.
//!
//! A packet's body is cut into pieces of 64 KiB. Where all so far must be readable (a checkpoint
//! was written), what waits is cut at once into powers of two, the largest first. Inside the
//! encrypted data the last of these are halved until the next piece begins at a block of the
//! cipher, so that no byte waits for its block. The last piece has a definite length.

use super::aes::BLOCK;
use crate::limits::MOST_BREAKS;

/// Bytes of a usual piece.
pub(super) const PIECE: u64 = 1 << PIECE_POWER;
const PIECE_POWER: u8 = 16;
/// The first partial length is at least this.
const FIRST_LEAST: u64 = 512;
/// Bytes that are kept back where pieces may have to be halved: so many can be, 15 times.
const KEPT: u64 = 32;

/// Decides where pieces end. It counts; whoever asks has the bytes.
#[derive(Clone, Debug)]
pub(super) struct Framer {
    /// Bytes of the body that belong to no piece yet.
    waiting: u64,
    /// Where the next length goes, as the cipher counts; `None` where blocks do not matter.
    at: Option<u64>,
    is_first: bool,
}

impl Framer {
    /// Of the packet around the encrypted data.
    pub(super) fn outer() -> Self {
        Self {
            waiting: 0,
            at: None,
            is_first: true,
        }
    }

    /// Of the literal data, whose first length has `at` bytes of plaintext before it.
    pub(super) fn inner(at: u64) -> Self {
        Self {
            at: Some(at),
            ..Self::outer()
        }
    }

    /// Takes note of further bytes.
    pub(super) fn add(&mut self, bytes: u64) {
        self.waiting += bytes;
    }

    /// A usual piece, where there is enough for one: its power.
    pub(super) fn next_piece(&mut self) -> Option<u8> {
        let kept = if self.at.is_some() { KEPT } else { 0 };
        (self.waiting >= PIECE + kept).then(|| self.take(PIECE_POWER))
    }

    /// Everything that waits, in pieces: their powers. What is too little stays.
    pub(super) fn flush(&mut self) -> Vec<u8> {
        let mut powers = Vec::new();
        let least = match (self.is_first, self.at) {
            (true, None) => FIRST_LEAST,
            (true, Some(_)) => 2 * FIRST_LEAST,
            (false, None) => 1,
            (false, Some(_)) => KEPT,
        };
        if self.waiting < least {
            return powers;
        }
        for power in (0..=PIECE_POWER).rev() {
            while self.waiting >> power > 0 {
                powers.push(power);
                self.take(power);
            }
        }
        if let Some(at) = &mut self.at {
            let missing = at.wrapping_neg() % BLOCK as u64;
            for _ in 0..missing {
                halve_last(&mut powers);
            }
            *at += missing;
        }
        powers
    }

    /// The last piece, of at most [`PIECE`] bytes, once usual ones were taken.
    pub(super) fn finish(mut self) -> (Option<u8>, u64) {
        let one_more = (self.waiting > PIECE).then(|| self.take(PIECE_POWER));
        (one_more, self.waiting)
    }

    fn take(&mut self, power: u8) -> u8 {
        self.waiting -= 1 << power;
        self.is_first = false;
        if let Some(at) = &mut self.at {
            *at += 1 + (1 << power);
        }
        power
    }
}

/// Makes two pieces of the last that has more than one byte.
fn halve_last(powers: &mut Vec<u8>) {
    if let Some(at) = powers.iter().rposition(|power| *power > 0) {
        powers[at] -= 1;
        powers.insert(at, powers[at]);
    }
}

/// The octet of a partial length.
pub(super) fn partial(power: u8) -> u8 {
    0xE0 | power
}

/// A definite length in its shortest form, RFC 9580 section 4.2.1.
pub(super) fn put_definite(out: &mut Vec<u8>, length: u64) {
    match length {
        0..192 => out.push(length as u8),
        192..8384 => {
            let rest = length - 192;
            out.extend_from_slice(&[(rest >> 8) as u8 + 192, rest as u8]);
        }
        _ => {
            out.push(0xFF);
            out.extend_from_slice(&(length as u32).to_be_bytes());
        }
    }
}

/// Where the pieces of a body lie: usual ones that follow each other are one entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Index {
    /// Where a run begins: in the body, and in what holds it (behind its first length).
    runs: Vec<(u64, u64)>,
    /// The last piece so far is a usual one, so that another one continues its run.
    continues: bool,
    /// Bytes of the body, and of what holds it.
    pub(super) body: u64,
    pub(super) end: u64,
}

impl Index {
    /// An index of a body whose first length stands at `at`.
    pub(super) fn new(at: u64) -> Self {
        Self {
            end: at,
            ..Self::default()
        }
    }

    /// Notes a piece with `octets` of length before it.
    pub(super) fn push(&mut self, octets: u64, length: u64, is_last: bool) -> Result<(), String> {
        let is_usual = length == PIECE && !is_last;
        if !(is_usual && self.continues) {
            if self.runs.len() >= MOST_BREAKS {
                return Err("it is cut into more pieces than a bundle is".into());
            }
            self.runs.push((self.body, self.end + octets));
        }
        self.continues = is_usual;
        self.body += length;
        self.end += octets + length;
        Ok(())
    }

    /// Where a byte of the body lies, and how many follow it there.
    pub(super) fn find(&self, at: u64) -> Option<(u64, u64)> {
        if at >= self.body {
            return None;
        }
        let next = self.runs.partition_point(|(body, _)| *body <= at);
        let (body, held) = self.runs.get(next.checked_sub(1)?)?;
        let run_end = self.runs.get(next).map_or(self.body, |(body, _)| *body);
        let (piece, within) = ((at - body) / PIECE, (at - body) % PIECE);
        let left = (PIECE - within).min(run_end - at);
        Some((held + piece * (PIECE + 1) + within, left))
    }

    /// Forgets what lies past `body` bytes: the stream was cut there.
    pub(super) fn cut(&mut self, body: u64) {
        self.body = self.body.min(body);
    }
}

/// Takes a framed body apart as its bytes come.
#[derive(Debug)]
pub(super) struct Deframer {
    pub(super) index: Index,
    state: State,
    is_first: bool,
}

#[derive(Debug)]
enum State {
    /// Octets of a length, as far as they are there.
    Length(Vec<u8>),
    /// Bytes of the piece that are still to come.
    Piece {
        left: u64,
        is_last: bool,
    },
    Done,
}

impl Deframer {
    /// Of a body whose first length stands at `at`.
    pub(super) fn new(at: u64) -> Self {
        Self {
            index: Index::new(at),
            state: State::Length(Vec::new()),
            is_first: true,
        }
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Bytes that the piece under way still lacks.
    pub(super) fn missing(&self) -> u64 {
        match self.state {
            State::Piece { left, .. } => left,
            _ => 0,
        }
    }

    /// Bytes of the body that came so far.
    pub(super) fn body(&self) -> u64 {
        match self.state {
            State::Piece { left, .. } => self.index.body - left,
            _ => self.index.body,
        }
    }

    /// Appends what `bytes` hold of the body to `out`; gives how many were used, all of them
    /// unless the body is done.
    pub(super) fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<usize, String> {
        let mut used = 0;
        loop {
            match &mut self.state {
                State::Done => return Ok(used),
                State::Piece { left, is_last } => {
                    let rest = &bytes[used..];
                    let count = (*left).min(rest.len() as u64);
                    out.extend_from_slice(&rest[..count as usize]);
                    used += count as usize;
                    *left -= count;
                    if *left > 0 {
                        return Ok(used);
                    }
                    self.state = if *is_last {
                        State::Done
                    } else {
                        State::Length(Vec::new())
                    };
                }
                State::Length(octets) => {
                    let Some(octet) = bytes.get(used) else {
                        return Ok(used);
                    };
                    octets.push(*octet);
                    used += 1;
                    if let Some((length, is_last)) = read_length(octets)? {
                        let octets = octets.len() as u64;
                        if self.is_first && !is_last && length < FIRST_LEAST {
                            return Err("its first length is less than one may be".into());
                        }
                        self.is_first = false;
                        self.index.push(octets, length, is_last)?;
                        self.state = State::Piece {
                            left: length,
                            is_last,
                        };
                    }
                }
            }
        }
    }
}

/// A length, once all its octets are there, and whether it is the last.
fn read_length(octets: &[u8]) -> Result<Option<(u64, bool)>, String> {
    let length = match *octets {
        [octet] if octet < 192 => u64::from(octet),
        [octet] if (224..255).contains(&octet) => {
            let power = octet & 0x1F;
            if power > PIECE_POWER {
                return Err("its pieces are larger than a bundle's".into());
            }
            return Ok(Some((1 << power, false)));
        }
        [first @ 192..224, second] => ((u64::from(first) - 192) << 8) + u64::from(second) + 192,
        [255, a, b, c, d] => u64::from(u32::from_be_bytes([a, b, c, d])),
        _ => return Ok(None),
    };
    let mut shortest = Vec::new();
    put_definite(&mut shortest, length);
    if shortest != octets || length > PIECE {
        return Err("a length in it is not as bundles have it".into());
    }
    Ok(Some((length, true)))
}

/// A body under way, as it must lie where it was flushed at given places.
pub(super) struct Expected {
    framer: Framer,
    index: Index,
    /// Bytes of the body that were given.
    given: u64,
    /// Where it ended at each flush.
    pub(super) ends: Vec<u64>,
}

impl Expected {
    /// A body whose first length stands at `at`, flushed at each of `flushes`, in order.
    pub(super) fn flushed(framer: Framer, at: u64, flushes: &[u64]) -> Result<Self, String> {
        let mut expected = Self {
            framer,
            index: Index::new(at),
            given: 0,
            ends: Vec::new(),
        };
        for flush in flushes {
            expected.advance(*flush)?;
            for power in expected.framer.flush() {
                expected.index.push(1, 1 << power, false)?;
            }
            expected.ends.push(expected.index.end);
        }
        Ok(expected)
    }

    fn advance(&mut self, to: u64) -> Result<(), String> {
        let more = to.checked_sub(self.given).ok_or("flushes go backwards")?;
        self.given = to;
        self.framer.add(more);
        while let Some(power) = self.framer.next_piece() {
            self.index.push(1, 1 << power, false)?;
        }
        Ok(())
    }

    /// The index of the whole body, which has `length` bytes.
    pub(super) fn finish(mut self, length: u64) -> Result<Index, String> {
        self.advance(length)?;
        let (one_more, last) = self.framer.finish();
        if let Some(power) = one_more {
            self.index.push(1, 1 << power, false)?;
        }
        let mut octets = Vec::new();
        put_definite(&mut octets, last);
        self.index.push(octets.len() as u64, last, true)?;
        Ok(self.index)
    }

    /// Whether a body lies so up to the last flush, whatever follows it.
    pub(super) fn begins(&self, body: &Index) -> bool {
        let until = self.index.body;
        let first = body.runs.partition_point(|(at, _)| *at < until);
        let is_cut_there = body.body == until
            || body.runs.get(first).is_some_and(|(at, _)| *at == until)
            || self.index.continues;
        body.body >= until && body.runs[..first] == self.index.runs && is_cut_there
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames `length` bytes with flushes, as a writer does.
    fn frame(mut framer: Framer, body: &[u8], flushes: &[u64]) -> Vec<u8> {
        let mut out = Vec::new();
        let (mut given, mut taken) = (0, 0);
        let mut put = |power: u8, taken: &mut usize| {
            out.push(partial(power));
            out.extend_from_slice(&body[*taken..*taken + (1 << power)]);
            *taken += 1 << power;
        };
        for flush in flushes {
            framer.add(flush - given);
            given = *flush;
            while let Some(power) = framer.next_piece() {
                put(power, &mut taken);
            }
            for power in framer.flush() {
                put(power, &mut taken);
            }
        }
        framer.add(body.len() as u64 - given);
        while let Some(power) = framer.next_piece() {
            put(power, &mut taken);
        }
        let (one_more, last) = framer.finish();
        if let Some(power) = one_more {
            put(power, &mut taken);
        }
        put_definite(&mut out, last);
        out.extend_from_slice(&body[taken..]);
        out
    }

    #[test]
    fn what_is_framed_is_found_again_at_every_place() {
        let body: Vec<u8> = (0..300_000u32).map(|at| ((at * 17) >> 3) as u8).collect();
        let flushes: [&[u64]; 5] = [
            &[],
            &[1500],
            &[2048, 2100, 70_000, 200_001],
            &[65_536 + 1024, 299_999],
            &[131_072, 300_000],
        ];
        for flushes in flushes {
            for start in [None, Some(16), Some(34)] {
                let framer = || start.map_or_else(Framer::outer, Framer::inner);
                let framed = frame(framer(), &body, flushes);
                let mut deframer = Deframer::new(0);
                let mut back = Vec::new();
                for bytes in framed.chunks(1 << 14) {
                    let used = deframer.push(bytes, &mut back).expect("own framing");
                    assert_eq!(used, bytes.len());
                }
                assert!(deframer.is_done() && back == body);
                let index = &deframer.index;
                let flushed = || Expected::flushed(framer(), 0, flushes).expect("in order");
                let again = flushed().finish(body.len() as u64).expect("in order");
                assert_eq!(*index, again);
                assert!(flushed().begins(index));
                let later: Vec<u64> = flushes.iter().map(|at| at + 1).collect();
                let later = Expected::flushed(framer(), 0, &later).expect("in order");
                assert!(flushes.is_empty() || !later.begins(index));
                assert_eq!(index.end, framed.len() as u64);
                for at in (0..body.len()).step_by(997) {
                    let (held, left) = index.find(at as u64).expect("inside");
                    let count = left.min(100) as usize;
                    let held = held as usize;
                    assert_eq!(framed[held..held + count], body[at..at + count]);
                }
                assert_eq!(index.find(body.len() as u64), None);
            }
        }
    }

    /// After a flush nothing waits, and the next length begins a block of the cipher.
    #[test]
    fn a_flush_leaves_nothing_and_ends_a_block() {
        for start in 0..16 {
            for bytes in 1024..1200 {
                let mut framer = Framer::inner(start);
                framer.add(bytes);
                let powers = framer.flush();
                let sum: u64 = powers.iter().map(|power| 1 << power).sum();
                assert_eq!((sum, framer.waiting), (bytes, 0));
                assert_eq!((start + bytes + powers.len() as u64) % 16, 0);
                assert!(powers[0] >= 9 && powers.is_sorted_by(|a, b| a >= b));
                framer.add(32 + start);
                let powers = framer.flush();
                assert_eq!((32 + start + powers.len() as u64) % 16, 0, "{start}");
            }
        }
    }

    #[test]
    fn lengths_that_are_not_ours_are_refused() {
        for (octets, why) in [
            (&[0xF1][..], "larger"),
            (&[0xE8], "first"),
            (&[0xFF, 0, 0, 0, 5], "not as bundles"),
            (&[0xFF, 0, 1, 0, 1], "not as bundles"),
        ] {
            let error = Deframer::new(0)
                .push(octets, &mut Vec::new())
                .expect_err("refused");
            assert!(error.contains(why), "{error}");
        }
    }
}
