//! Work that has to be done in order, beside other work, on the caller's rayon pool.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

/// Items that may wait before whoever brings more has to wait, or to work, too.
const MOST_WAITING: usize = 4;

/// A worker with a state and a queue. No thread is held while there is nothing to do, and a
/// caller that finds the queue full does the work itself where nobody does it.
pub(super) struct Serial<S, T> {
    shared: Arc<Shared<S, T>>,
}

struct Shared<S, T> {
    queue: Mutex<Queue<S, T>>,
    idle: Condvar,
    work: fn(&mut S, T),
}

struct Queue<S, T> {
    /// `None` while a thread works with it.
    state: Option<S>,
    items: VecDeque<T>,
    /// A thread was asked for and has not begun.
    called: bool,
}

impl<S: Send + 'static, T: Send + 'static> Serial<S, T> {
    pub(super) fn new(state: S, work: fn(&mut S, T)) -> Self {
        Self {
            shared: Arc::new(Shared {
                queue: Mutex::new(Queue {
                    state: Some(state),
                    items: VecDeque::new(),
                    called: false,
                }),
                idle: Condvar::new(),
                work,
            }),
        }
    }

    /// Queues an item.
    pub(super) fn push(&self, item: T) {
        let shared = &self.shared;
        let mut queue = shared.lock();
        queue.items.push_back(item);
        if queue.items.len() > MOST_WAITING {
            // Whoever works is no thread of ours and needs none of ours: waiting is safe.
            while queue.state.is_none() && queue.items.len() > MOST_WAITING {
                queue = shared.wait(queue);
            }
            if queue.items.len() > MOST_WAITING {
                shared.run(queue);
                return;
            }
        }
        if queue.state.is_some() && !queue.called {
            queue.called = true;
            drop(queue);
            let shared = shared.clone();
            rayon::spawn(move || {
                let mut queue = shared.lock();
                queue.called = false;
                shared.run(queue);
            });
        }
    }

    /// Does all that waits, and lends the state.
    pub(super) fn settled<R>(&self, then: impl FnOnce(&mut S) -> R) -> R {
        let shared = &self.shared;
        let mut queue = shared.lock();
        loop {
            while queue.state.is_none() {
                queue = shared.wait(queue);
            }
            if queue.items.is_empty() {
                break;
            }
            shared.run(queue);
            queue = shared.lock();
        }
        let state = queue.state.as_mut();
        then(state.expect("nobody has it: the loop above has seen to that"))
    }

    /// Does all that waits, and gives the state back.
    pub(super) fn finish(self) -> S {
        self.settled(|_| {});
        let mut queue = self.shared.lock();
        queue
            .state
            .take()
            .expect("all is done, and nobody can bring more")
    }
}

impl<S, T> Shared<S, T> {
    fn lock(&self) -> MutexGuard<'_, Queue<S, T>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, queue: MutexGuard<'a, Queue<S, T>>) -> MutexGuard<'a, Queue<S, T>> {
        self.idle
            .wait(queue)
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Works until the queue is empty, unless another thread does.
    fn run<'a>(&'a self, mut queue: MutexGuard<'a, Queue<S, T>>) {
        let Some(mut state) = queue.state.take() else {
            return;
        };
        while let Some(item) = queue.items.pop_front() {
            drop(queue);
            self.idle.notify_all();
            (self.work)(&mut state, item);
            queue = self.lock();
        }
        queue.state = Some(state);
        drop(queue);
        self.idle.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_worked_on_in_order_at_any_number_of_threads() {
        for threads in [1, 2, 8] {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .expect("a pool");
            let seen = pool.install(|| {
                let serial = Serial::new(Vec::new(), |seen: &mut Vec<u32>, item| seen.push(item));
                for item in 0..10_000 {
                    serial.push(item);
                    if item % 1000 == 0 {
                        let last = serial.settled(|seen| seen.last().copied());
                        assert_eq!(last, Some(item));
                    }
                }
                serial.finish()
            });
            assert!(seen.iter().copied().eq(0..10_000));
        }
    }
}
