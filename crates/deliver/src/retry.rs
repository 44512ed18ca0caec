//! Trying again, at growing distances.

use std::{
    fmt,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use crate::{Error, Failure};

/// Hears what goes wrong and is tried again.
pub type Listener = Arc<dyn Fn(&str) + Send + Sync>;

/// How long a store is waited for.
#[derive(Clone)]
pub struct Retry {
    /// The first pause; each is twice the one before.
    pub first: Duration,
    /// The longest pause.
    pub most: Duration,
    /// For how long one thing is tried again, from its first failure on, before the store counts as gone: over a slow
    /// line one attempt alone may take longer.
    pub patience: Duration,
    /// Who hears of each failure.
    pub listener: Option<Listener>,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(500),
            most: Duration::from_secs(30),
            patience: Duration::from_secs(600),
            listener: None,
        }
    }
}

impl fmt::Debug for Retry {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Retry")
            .field("first", &self.first)
            .field("most", &self.most)
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

impl Retry {
    /// Tries until it is done, refused, or the patience is at its end.
    ///
    /// # Errors
    /// [`Error::Gone`], or what the attempt called final.
    pub(crate) fn insist<T>(
        &self,
        store: &str,
        mut attempt: impl FnMut() -> Result<T, Failure>,
    ) -> Result<T, Error> {
        let began = Instant::now();
        let mut failing_since = None;
        let mut pause = self.first;
        loop {
            let why = match attempt() {
                Ok(done) => return Ok(done),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing(why)) => why,
            };
            let failing = failing_since.get_or_insert_with(Instant::now).elapsed();
            let left = self.patience.saturating_sub(failing);
            if left.is_zero() {
                return Err(Error::Gone {
                    store: store.to_owned(),
                    waited: began.elapsed(),
                    why,
                });
            }
            let pause_now = pause.min(left);
            if let Some(listener) = &self.listener {
                listener(&format!(
                    "{store}: {why}; trying again in {:.1} s",
                    pause_now.as_secs_f64()
                ));
            }
            thread::sleep(pause_now);
            pause = (pause * 2).min(self.most);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn quick(patience: Duration, heard: &Arc<Mutex<Vec<String>>>) -> Retry {
        let heard = Arc::clone(heard);
        Retry {
            first: Duration::from_millis(1),
            most: Duration::from_millis(4),
            patience,
            listener: Some(Arc::new(move |what| {
                heard.lock().expect("whole").push(what.to_owned());
            })),
        }
    }

    #[test]
    fn what_passes_is_tried_again_and_what_is_final_is_not() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let retry = quick(Duration::from_secs(20), &heard);
        let mut left = 5;
        let done = retry.insist("s3://b/k", || {
            left -= 1;
            if left > 0 {
                Err(Failure::Passing("cut".into()))
            } else {
                Ok(7)
            }
        });
        assert_eq!(done.expect("at last"), 7);
        assert_eq!(heard.lock().expect("whole").len(), 4);

        let mut tries = 0;
        let refused = retry.insist::<()>("s3://b/k", || {
            tries += 1;
            Err(Failure::Final(Error::Setup("no key".into())))
        });
        assert!(matches!(refused, Err(Error::Setup(_))));
        assert_eq!(tries, 1);
    }

    #[test]
    fn an_attempt_that_took_longer_than_patience_lasts_is_made_again() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let retry = quick(Duration::from_millis(500), &heard);
        let mut tries = 0;
        let done = retry.insist("s3://b/k", || {
            tries += 1;
            if tries > 1 {
                return Ok(7);
            }
            thread::sleep(Duration::from_millis(40));
            Err(Failure::Passing("cut".into()))
        });
        assert_eq!(done.expect("it is tried again"), 7);
    }

    #[test]
    fn patience_ends() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let retry = quick(Duration::from_millis(20), &heard);
        let gone = retry
            .insist::<()>("s3://b/k", || Err(Failure::Passing("cut".into())))
            .expect_err("nobody there");
        assert!(matches!(gone, Error::Gone { .. }), "{gone}");
        assert!(heard.lock().expect("whole").len() > 2);
    }
}
