//! Work done on any thread, handed on in order.

use std::{
    collections::BTreeMap,
    io,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Produces `0..total` on the caller's rayon pool and hands each result to `join` in order.
///
/// At most `window` results exist at a time. `join` is never called by two threads at once; it
/// may use rayon itself. Nobody waits while holding a thread: a worker that runs ahead of the
/// window leaves, and the joiner calls it back.
///
/// # Errors
/// The first that `join` gives; what was under way is then dropped.
pub fn ordered<T: Send>(
    total: usize,
    window: usize,
    produce: impl Fn(usize, &mut Vec<u8>) -> T + Sync,
    join: impl Fn(T) -> io::Result<()> + Sync,
) -> io::Result<()> {
    let work = Work {
        total,
        window: window.max(1),
        threads: rayon::current_num_threads(),
        state: Mutex::new(State {
            next: 0,
            joined: 0,
            running: 0,
            joining: false,
            ready: BTreeMap::new(),
            error: None,
        }),
        produce,
        join,
    };
    rayon::scope(|scope| work.call_workers(work.lock(), scope));
    let state = work
        .state
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    state.error.map_or(Ok(()), Err)
}

struct State<T> {
    next: usize,
    joined: usize,
    running: usize,
    joining: bool,
    ready: BTreeMap<usize, T>,
    error: Option<io::Error>,
}

struct Work<T, P, J> {
    total: usize,
    window: usize,
    threads: usize,
    state: Mutex<State<T>>,
    produce: P,
    join: J,
}

impl<T, P, J> Work<T, P, J>
where
    T: Send,
    P: Fn(usize, &mut Vec<u8>) -> T + Sync,
    J: Fn(T) -> io::Result<()> + Sync,
{
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // A panic elsewhere leaves the counters sound; rayon passes the panic itself on.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn may_take(&self, state: &State<T>) -> bool {
        state.error.is_none()
            && state.next < self.total
            && state.next < state.joined.saturating_add(self.window)
    }

    fn call_workers<'s>(&'s self, mut state: MutexGuard<'_, State<T>>, scope: &rayon::Scope<'s>) {
        while state.running < self.threads && self.may_take(&state) {
            // Each worker that starts will take at least one: count what they will take.
            let untaken = self.total - state.next;
            if state.running >= untaken {
                break;
            }
            state.running += 1;
            scope.spawn(|scope| self.work(scope));
        }
    }

    fn work<'s>(&'s self, scope: &rayon::Scope<'s>) {
        let mut buffer = Vec::new();
        loop {
            let index = {
                let mut state = self.lock();
                if !self.may_take(&state) {
                    state.running -= 1;
                    return;
                }
                state.next += 1;
                state.next - 1
            };
            let result = (self.produce)(index, &mut buffer);
            let mut state = self.lock();
            state.ready.insert(index, result);
            if state.joining {
                continue;
            }
            state.joining = true;
            while state.error.is_none() {
                let joined = state.joined;
                let Some(result) = state.ready.remove(&joined) else {
                    break;
                };
                drop(state);
                let outcome = (self.join)(result);
                state = self.lock();
                state.joined += 1;
                if let Err(error) = outcome {
                    state.error = Some(error);
                    state.ready.clear();
                }
                self.call_workers(state, scope);
                state = self.lock();
            }
            state.joining = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_holds_on_any_number_of_threads() {
        for threads in [1, 2, 8] {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .expect("a pool");
            let seen = Mutex::new(Vec::new());
            pool.install(|| {
                ordered(
                    1000,
                    5,
                    |index, _| {
                        if index % 7 == 0 {
                            std::thread::yield_now();
                        }
                        index
                    },
                    |index| {
                        seen.lock().expect("no panic").push(index);
                        // A joiner may use rayon itself.
                        rayon::join(|| (), || ());
                        Ok(())
                    },
                )
            })
            .expect("no error");
            let seen = seen.into_inner().expect("no panic");
            assert_eq!(seen, (0..1000).collect::<Vec<_>>());
        }
    }

    #[test]
    fn an_error_ends_the_work() {
        let outcome = ordered(
            1_000_000,
            4,
            |index, _| index,
            |index| {
                if index == 10 {
                    Err(io::Error::other("full"))
                } else {
                    Ok(())
                }
            },
        );
        assert_eq!(outcome.expect_err("index 10 fails").to_string(), "full");
    }
}
