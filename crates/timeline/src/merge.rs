//! Runs to one order: who gives the next row, planned piece by piece, read on any thread.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BinaryHeap, binary_heap::PeekMut},
    sync::{Mutex, PoisonError},
};

use crate::{
    Error,
    names::Names,
    run::{Key, Keys, Rows, Run, Sorted},
    spill::Spill,
};

/// Sorted runs that are read as one.
pub(crate) struct Merge<'a> {
    runs: &'a [Run],
    names: &'a Names,
    spill: &'a Spill,
    piece_rows: usize,
    rows: u64,
    planner: Mutex<Planner<'a>>,
}

/// Which rows make one piece of the output.
struct Plan {
    /// Of each run, its first row of this piece.
    starts: Vec<u64>,
    /// The run of each row, where there are several.
    order: Vec<u32>,
    rows: usize,
}

struct Planner<'a> {
    heads: BinaryHeap<Head<'a>>,
    keys: Vec<Keys<'a>>,
    /// Of each run, the first row that no plan has yet.
    starts: Vec<u64>,
    next: usize,
    ready: BTreeMap<usize, Plan>,
}

struct Head<'a> {
    key: Key,
    run: u32,
    names: &'a Names,
}

impl Ord for Head<'_> {
    /// The heap gives the greatest: the earliest row is the greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        other
            .key
            .compare(&self.key, self.names)
            // Runs are in the order of the input.
            .then_with(|| other.run.cmp(&self.run))
    }
}

impl PartialOrd for Head<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Head<'_> {}

impl<'a> Merge<'a> {
    /// Plans pieces of `piece_rows` rows; the last may have fewer.
    pub(crate) fn new(
        runs: &'a [Run],
        names: &'a Names,
        spill: &'a Spill,
        piece_rows: usize,
    ) -> Result<Self, Error> {
        let mut heads = BinaryHeap::new();
        let mut keys = Vec::new();
        if runs.len() > 1 {
            for (run, number) in runs.iter().zip(0..) {
                let mut source = Keys::new(run)?;
                if let Some(key) = source.next(spill)? {
                    heads.push(Head {
                        key,
                        run: number,
                        names,
                    });
                }
                keys.push(source);
            }
        }
        Ok(Self {
            runs,
            names,
            spill,
            piece_rows,
            rows: runs.iter().map(Run::rows).sum(),
            planner: Mutex::new(Planner {
                heads,
                keys,
                starts: vec![0; runs.len()],
                next: 0,
                ready: BTreeMap::new(),
            }),
        })
    }

    pub(crate) fn names(&self) -> &'a Names {
        self.names
    }

    /// How many pieces there are.
    pub(crate) fn pieces(&self) -> usize {
        self.rows.div_ceil(self.piece_rows as u64) as usize
    }

    /// Gives the rows of a piece, in order. Each piece is asked for once, from any thread.
    pub(crate) fn piece(
        &self,
        number: usize,
        mut each: impl FnMut(Sorted<'_>, u32) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let plan = self.plan(number)?;
        let mut sources = Vec::with_capacity(self.runs.len());
        for (run, start) in self.runs.iter().zip(&plan.starts) {
            sources.push(if *start < run.rows() {
                Some(Rows::new(run, self.spill, *start)?)
            } else {
                None
            });
        }
        for index in 0..plan.rows {
            let run = plan.order.get(index).copied().unwrap_or(0);
            if let Some(source) = &mut sources[run as usize] {
                each(source.next()?, run)?;
            }
        }
        Ok(())
    }

    /// Plans are made one after the other, whoever asks.
    fn plan(&self, number: usize) -> Result<Plan, Error> {
        let mut planner = self.planner.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(plan) = planner.ready.remove(&number) {
                return Ok(plan);
            }
            let plan = self.next_plan(&mut planner)?;
            let next = planner.next;
            planner.ready.insert(next, plan);
            planner.next += 1;
        }
    }

    fn next_plan(&self, planner: &mut Planner<'_>) -> Result<Plan, Error> {
        let starts = planner.starts.clone();
        if let [run] = self.runs {
            let left = run.rows() - planner.starts[0];
            let rows = left.min(self.piece_rows as u64);
            planner.starts[0] += rows;
            return Ok(Plan {
                starts,
                order: Vec::new(),
                rows: rows as usize,
            });
        }
        let mut order = Vec::with_capacity(self.piece_rows);
        while order.len() < self.piece_rows {
            let Some(mut head) = planner.heads.peek_mut() else {
                break;
            };
            let run = head.run;
            order.push(run);
            planner.starts[run as usize] += 1;
            match planner.keys[run as usize].next(self.spill)? {
                Some(key) => head.key = key,
                None => {
                    PeekMut::pop(head);
                }
            }
        }
        let rows = order.len();
        Ok(Plan {
            starts,
            order,
            rows,
        })
    }
}
