//! Finds what is understood in a source, and parses it.
//!
//! Streams are recognised by content, batch after batch, and the small ones are parsed in the
//! same step, many at once. A large one waits until all before it are handed on, and then has
//! every thread to itself. The consumer sees the order of the walk, whatever the threads did.

use std::{
    cell::OnceCell,
    io,
    ops::ControlFlow,
    sync::{Arc, Mutex, PoisonError},
};

use scelle_artefacts::{Artefact, Candidate, Input, Parser};
use scelle_event::{ArtefactId, Consumer, Context, EvidencePath, StreamId};
use scelle_evidence::{Entry, Evidence, FileId, StreamState, Volume, VolumeKind};
use scelle_formats::{ReadAt, ReadError};
use scelle_parallel::ordered;

use crate::{
    Progress, RunError, Tally,
    already::{Already, Key, Laid},
    once::Once,
    plan::stream_id,
    run::{Choose, run_over},
};

/// Streams that are looked at between two steps of the walk; what is held of them is their
/// entries, about 1 KiB each.
const BATCH: usize = 4096;
/// A stream that is cut into pieces and is larger than this is parsed by all threads together.
const LARGE_BYTES: u64 = 8 << 20;

/// What a parse of a source found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParseSummary {
    /// Streams and records by artefact, in the order of the registry, those without any left out.
    pub artefacts: Vec<Parsed>,
    /// Streams that could not be looked at, and why.
    pub unread: Vec<(StreamId, String)>,
}

/// What was found of one artefact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// Its id.
    pub artefact: ArtefactId,
    /// How many streams were of that kind.
    pub streams: u64,
    /// What they gave.
    pub tally: Tally,
}

/// Parses every stream of `evidence` that one of `artefacts` recognises, in the order of the walk.
///
/// It works on the caller's rayon pool. Where one artefact alone is asked for, and it says
/// exactly where on an NTFS volume it lies, the volume is not searched. Those that are parsed on request
/// alone come after the walk, from their exact places.
///
/// Of a snapshot among the volumes, only what may differ from the next newer state is looked at, and only what no state before it said is
/// handed on; those of a volume stand behind it, the newest first ([`Evidence::with_snapshots`]).
/// A summary counts what was read.
///
/// # Errors
/// Only where `consumer` fails.
pub fn parse<C: Consumer>(
    evidence: &Evidence,
    artefacts: &[&'static dyn Artefact],
    consumer: &C,
    at: &Progress,
) -> Result<ParseSummary, RunError> {
    let is_snapshot = |volume: &Arc<dyn Volume>| is_snapshot(volume.as_ref());
    if !evidence.volumes.iter().any(is_snapshot) {
        return search(evidence, artefacts, consumer, at, None, &|_| {});
    }
    let (once, already) = (Once::new(consumer), Already::default());
    search(evidence, artefacts, &once, at, Some(&already), &|volume| {
        once.begin(volume);
        already.begin(volume);
    })
}

fn search<C: Consumer>(
    evidence: &Evidence,
    artefacts: &[&'static dyn Artefact],
    consumer: &C,
    at: &Progress,
    already: Option<&Already>,
    begin: &dyn Fn(&dyn Volume),
) -> Result<ParseSummary, RunError> {
    at.begin("parsing", 0, 0);
    let (on_request, artefacts): (Vec<_>, Vec<_>) = artefacts
        .iter()
        .copied()
        .partition(|artefact| artefact.is_on_request());
    let search = Search {
        source: evidence.name.clone(),
        artefacts: &artefacts,
        consumer,
        at,
        already,
        summary: Mutex::new(ParseSummary::default()),
    };
    for volume in &evidence.volumes {
        begin(volume.as_ref());
        match exact_places(&artefacts, volume.as_ref()) {
            Some(places) => search.places(volume.as_ref(), places)?,
            None if artefacts.is_empty() => {}
            None => search.walk(volume.as_ref())?,
        }
        for artefact in &on_request {
            search.on_request(volume.as_ref(), *artefact)?;
        }
    }
    let mut summary = search
        .summary
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    summary.artefacts.sort_by_key(|parsed| {
        let same = |one: &&dyn Artefact| one.descriptor().id == parsed.artefact;
        scelle_artefacts::ALL.iter().position(same)
    });
    Ok(summary)
}

/// Parses one stream as one artefact, without asking whether it looks like it.
///
/// # Errors
/// Only where `consumer` fails.
pub fn parse_stream<C: Consumer>(
    source: &Arc<str>,
    volume: &dyn Volume,
    id: &StreamId,
    stream: &dyn ReadAt,
    artefact: &dyn Artefact,
    consumer: &C,
) -> Result<Tally, RunError> {
    Ok(parse_part(source, volume, id, stream, artefact, &|_| None, consumer)?.0)
}

/// As [`parse_stream`], of a stream that is cut into pieces no more than the piece in which `at` lies.
///
/// # Errors
/// Only where `consumer` fails.
pub fn parse_stream_at<C: Consumer>(
    source: &Arc<str>,
    volume: &dyn Volume,
    id: &StreamId,
    stream: &dyn ReadAt,
    artefact: &dyn Artefact,
    at: u64,
    consumer: &C,
) -> Result<Tally, RunError> {
    let piece = at..at.saturating_add(1);
    let only: Choose<'_> = &|_| Some(vec![piece.clone()]);
    Ok(parse_part(source, volume, id, stream, artefact, only, consumer)?.0)
}

/// As [`parse_stream`], of a stream that is cut into pieces no more than the records that lie where `choose` says; and whether
/// all of it was parsed to its end.
fn parse_part<C: Consumer>(
    source: &Arc<str>,
    volume: &dyn Volume,
    id: &StreamId,
    stream: &dyn ReadAt,
    artefact: &dyn Artefact,
    choose: Choose<'_>,
    consumer: &C,
) -> Result<(Tally, bool), RunError> {
    let found: Vec<_> = artefact
        .descriptor()
        .companions
        .iter()
        .map(|companion| {
            let id = companion_id(id, companion.location);
            // An absent companion is no loss: most streams have none.
            volume.open(&id).ok().map(|stream| (id, stream))
        })
        .collect();
    let companions: Vec<Option<&dyn ReadAt>> = found
        .iter()
        .map(|found| found.as_ref().map(|(_, stream)| stream as &dyn ReadAt))
        .collect();
    let names = found.iter().map(|found| {
        let text = found.as_ref().map(|(id, _)| id.to_string());
        Arc::from(text.unwrap_or_default())
    });
    let context = Arc::new(Context {
        artefact: artefact.descriptor().id,
        source: source.clone(),
        host: None,
        host_id: (volume.info().kind == VolumeKind::Ntfs).then(|| volume.info().base_id().into()),
        streams: [Arc::from(id.to_string())]
            .into_iter()
            .chain(names)
            .collect(),
    });
    let input = Input {
        stream,
        companions: &companions,
    };
    run_over(artefact, input, choose, &context, consumer)
}

pub(crate) fn is_snapshot(volume: &dyn Volume) -> bool {
    volume.info().base_id() != &*volume.info().id
}

/// Where a companion lies: beside the stream, or from the volume's root.
fn companion_id(id: &StreamId, location: &str) -> StreamId {
    let (path, stream) = match location.strip_prefix('/') {
        Some(from_root) => {
            let (path, stream) = match from_root.split_once(':') {
                Some((path, stream)) => (path, Some(stream)),
                None => (from_root, None),
            };
            (EvidencePath::from_bytes(path.as_bytes()), stream)
        }
        None => {
            let path = [id.path.as_bytes(), location.as_bytes()].concat();
            (EvidencePath::from_bytes(&path), None)
        }
    };
    StreamId {
        volume: id.volume.clone(),
        path,
        stream: stream.map(|name| EvidencePath::from_bytes(name.as_bytes())),
    }
}

/// The places of the only artefact that is asked for, where they are all exact.
fn exact_places(artefacts: &[&'static dyn Artefact], volume: &dyn Volume) -> Option<Vec<StreamId>> {
    let [artefact] = artefacts else { return None };
    let locations = artefact.descriptor().locations;
    let exact = |location: &&str| !location.contains(['*', '?', '%', '{']);
    if volume.info().kind != VolumeKind::Ntfs || !locations.iter().all(exact) {
        return None;
    }
    locations
        .iter()
        .map(|location| format!("{}/{location}", volume.info().id).parse().ok())
        .collect()
}

struct Search<'a, C> {
    source: Arc<str>,
    artefacts: &'a [&'static dyn Artefact],
    consumer: &'a C,
    at: &'a Progress,
    /// Where snapshots are among the volumes.
    already: Option<&'a Already>,
    summary: Mutex<ParseSummary>,
}

/// A stream that may be of some kind.
struct Job {
    entry: Arc<Entry>,
    stream: usize,
}

/// What came of a stream as one artefact.
struct Done {
    artefact: ArtefactId,
    tally: Tally,
    /// Where snapshots are read: which stream it is, and where it lay.
    laid: Option<(Key, Laid)>,
}

/// What became of it.
enum Outcome<U> {
    /// Nobody knows it.
    Unknown,
    /// It could not be looked at.
    Unread(StreamId, ReadError),
    /// It was parsed as each of these; the units are to be handed on.
    Parsed(Vec<(Done, Vec<U>)>),
    /// It is large, and of these kinds.
    Large(
        (StreamId, Option<FileId>),
        Vec<&'static dyn Artefact>,
        Box<dyn ReadAt>,
    ),
}

impl<C: Consumer> Search<'_, C> {
    fn places(&self, volume: &dyn Volume, places: Vec<StreamId>) -> Result<(), RunError> {
        for id in places {
            let stream = match volume.open(&id) {
                Ok(stream) => stream,
                Err(ReadError::Absent { .. }) => continue,
                Err(error) => {
                    self.unread(id, &error);
                    continue;
                }
            };
            let candidate = Candidate::new(&id.path, id.stream.as_ref(), stream.len(), || {
                Some(Box::new(&stream))
            });
            for artefact in self.artefacts {
                if artefact.recognises(&candidate) {
                    let done =
                        self.parse(volume, (&id, None), &stream, *artefact, self.consumer)?;
                    self.done(done);
                }
            }
            self.at.advance(stream.len(), 1);
        }
        Ok(())
    }

    /// Parses a stream, as far as no newer state of it was parsed already.
    fn parse<T: Consumer>(
        &self,
        volume: &dyn Volume,
        (id, entry): (&StreamId, Option<FileId>),
        stream: &dyn ReadAt,
        artefact: &dyn Artefact,
        consumer: &T,
    ) -> Result<Done, RunError> {
        let key = Key {
            artefact: artefact.descriptor().id,
            path: id.path.clone(),
            name: id.stream.clone(),
            entry,
        };
        let laid = OnceCell::new();
        let choose: Choose<'_> = &|cut| {
            let already = self.already?;
            let laid = laid.get_or_init(|| Laid::of(stream, cut));
            already.left(&key, laid.as_ref()?)
        };
        let (tally, is_whole) =
            parse_part(&self.source, volume, id, stream, artefact, choose, consumer)?;
        let laid = laid.into_inner().flatten().filter(|_| is_whole);
        Ok(Done {
            artefact: artefact.descriptor().id,
            tally,
            laid: laid.map(|laid| (key, laid)),
        })
    }

    /// Parses what no walk shows, without asking what it looks like.
    fn on_request(
        &self,
        volume: &dyn Volume,
        artefact: &'static dyn Artefact,
    ) -> Result<(), RunError> {
        for id in exact_places(&[artefact], volume).unwrap_or_default() {
            match volume.open(&id) {
                Ok(stream) => {
                    let tally =
                        parse_stream(&self.source, volume, &id, &stream, artefact, self.consumer)?;
                    self.count(artefact.descriptor().id, tally);
                    self.at.advance(stream.len(), 1);
                }
                Err(ReadError::Absent { .. }) => {}
                Err(error) => self.unread(id, &error),
            }
        }
        Ok(())
    }

    fn walk(&self, volume: &dyn Volume) -> Result<(), RunError> {
        let mut batch = Vec::with_capacity(BATCH);
        let mut result = Ok(());
        // Of all but snapshots, that is everything.
        volume.walk_changed(&mut |entry| {
            // What is lost of the structure is told by whoever plans or lists the volume.
            let Ok(entry) = entry else {
                return ControlFlow::Continue(());
            };
            if entry.deleted || entry.streams.iter().all(|stream| stream.size_bytes == 0) {
                return ControlFlow::Continue(());
            }
            let entry = Arc::new(entry);
            batch.extend((0..entry.streams.len()).map(|stream| Job {
                entry: entry.clone(),
                stream,
            }));
            if batch.len() >= BATCH {
                result = self.batch(volume, &batch);
                batch.clear();
            }
            if result.is_ok() {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        });
        result?;
        self.batch(volume, &batch)
    }

    fn batch(&self, volume: &dyn Volume, jobs: &[Job]) -> Result<(), RunError> {
        ordered(
            jobs.len(),
            rayon::current_num_threads() * 4,
            |index, _| (index, self.look(volume, &jobs[index])),
            |(index, outcome)| {
                self.at
                    .advance(jobs[index].entry.streams[jobs[index].stream].size_bytes, 1);
                self.hand_on(volume, outcome)
            },
        )?;
        Ok(())
    }

    /// Recognises a stream, and parses it where it is small.
    fn look(&self, volume: &dyn Volume, job: &Job) -> Outcome<C::Unit> {
        let info = &job.entry.streams[job.stream];
        if info.size_bytes == 0 {
            return Outcome::Unknown;
        }
        let id = stream_id(volume, &job.entry, info);
        match info.state {
            StreamState::Plain => {}
            StreamState::Unsupported(what) => {
                return Outcome::Unread(id, ReadError::Unsupported { what });
            }
            // Ciphertext is none of the formats that it hides.
            StreamState::Encrypted { .. } => {
                let what = "EFS encryption";
                return Outcome::Unread(id, ReadError::Unsupported { what });
            }
        }
        let stream = match volume.open_entry(&job.entry, info.name.as_ref()) {
            Ok(stream) => stream,
            Err(error) => return Outcome::Unread(id, error),
        };
        let kinds: Vec<_> = {
            let path = &job.entry.path;
            let candidate = Candidate::new(path, info.name.as_ref(), stream.len(), || {
                Some(Box::new(&stream))
            });
            let recognised = |one: &&&'static dyn Artefact| one.recognises(&candidate);
            self.artefacts.iter().filter(recognised).copied().collect()
        };
        let is_cut = |one: &&dyn Artefact| matches!(one.parser(), Parser::Chunks(_));
        if kinds.is_empty() {
            return Outcome::Unknown;
        }
        if stream.len() > LARGE_BYTES && kinds.iter().any(is_cut) {
            return Outcome::Large((id, job.entry.id), kinds, stream);
        }
        let parsed = kinds.into_iter().map(|artefact| {
            let held = Held {
                inner: self.consumer,
                units: Mutex::new(Vec::new()),
            };
            let file = (&id, job.entry.id);
            let done = self
                .parse(volume, file, &stream, artefact, &held)
                .expect("holding units never fails");
            let units = held
                .units
                .into_inner()
                .unwrap_or_else(PoisonError::into_inner);
            (done, units)
        });
        Outcome::Parsed(parsed.collect())
    }

    fn hand_on(&self, volume: &dyn Volume, outcome: Outcome<C::Unit>) -> io::Result<()> {
        match outcome {
            Outcome::Unknown => {}
            Outcome::Unread(id, error) => self.unread(id, &error),
            Outcome::Parsed(parsed) => {
                for (done, units) in parsed {
                    units
                        .into_iter()
                        .try_for_each(|unit| self.consumer.join(unit))?;
                    self.done(done);
                }
            }
            Outcome::Large((id, entry), kinds, stream) => {
                for artefact in kinds {
                    let done = self
                        .parse(volume, (&id, entry), &stream, artefact, self.consumer)
                        .map_err(|RunError::Output(error)| error)?;
                    self.done(done);
                }
            }
        }
        Ok(())
    }

    fn done(&self, done: Done) {
        self.count(done.artefact, done.tally);
        if let (Some(already), Some((key, laid))) = (self.already, done.laid) {
            already.keep(key, laid);
        }
    }

    fn count(&self, artefact: ArtefactId, tally: Tally) {
        let mut summary = self.summary.lock().unwrap_or_else(PoisonError::into_inner);
        let known = summary
            .artefacts
            .iter_mut()
            .find(|one| one.artefact == artefact);
        match known {
            Some(parsed) => {
                parsed.streams += 1;
                parsed.tally.records += tally.records;
                parsed.tally.warnings += tally.warnings;
            }
            None => summary.artefacts.push(Parsed {
                artefact,
                streams: 1,
                tally,
            }),
        }
    }

    fn unread(&self, id: StreamId, error: &ReadError) {
        let mut summary = self.summary.lock().unwrap_or_else(PoisonError::into_inner);
        summary.unread.push((id, error.to_string()));
    }
}

/// Keeps the units of one small stream until their turn comes.
struct Held<'a, C: Consumer> {
    inner: &'a C,
    units: Mutex<Vec<C::Unit>>,
}

impl<C: Consumer> Consumer for Held<'_, C> {
    type Unit = C::Unit;

    fn unit(&self, context: &Arc<Context>) -> Self::Unit {
        self.inner.unit(context)
    }

    fn join(&self, unit: Self::Unit) -> io::Result<()> {
        let mut units = self.units.lock().unwrap_or_else(PoisonError::into_inner);
        units.push(unit);
        Ok(())
    }
}
