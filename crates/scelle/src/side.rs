//! The file beside a bundle that is not finished: how to go on with it.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use scelle_bundle::{Cursor, Logged, sync_folder};
use scelle_engine::Plan;
use scelle_formats::Digests;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    Order,
    collection::{hex, plan_hash},
};

/// It has a few hundred bytes.
const STATE_LIMIT: u64 = 1 << 16;

/// `NAME.resume`, beside a bundle that is not finished. It holds no names.
#[derive(Clone, Debug)]
pub(crate) struct SideFile {
    path: PathBuf,
    /// BLAKE3 of what was asked for, in hex.
    plan: String,
    /// The part that is being written, from 1.
    pub(crate) part: u32,
}

/// What it says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct State {
    /// BLAKE3 of what was asked for, in hex.
    pub(crate) plan: String,
    /// The part that is being written.
    pub(crate) part: u32,
    /// Lines of coverage so far, and a hash of what they are about.
    cursor: u64,
    lines_blake3: String,
    warnings: u64,
    losses: u64,
    /// The last checkpoint that was logged, and its part; none, before the first.
    checkpoint: Option<u64>,
    checkpoint_blake3: Option<String>,
    pub(crate) checkpoint_part: Option<u32>,
    last: bool,
}

impl State {
    /// The last checkpoint that was logged; an error where it is no checkpoint.
    pub(crate) fn logged(&self) -> Result<Option<Logged>, String> {
        let (Some(checkpoint), Some(blake3)) = (self.checkpoint, &self.checkpoint_blake3) else {
            return Ok(None);
        };
        let cursor = Cursor::read(self.cursor, &self.lines_blake3)
            .ok_or("the hash of its lines is no hash")?;
        Ok(Some(Logged {
            checkpoint,
            blake3: blake3.clone(),
            cursor,
            warnings: self.warnings,
            losses: self.losses,
            is_last: self.last,
        }))
    }
}

impl SideFile {
    /// Of a bundle's first part.
    pub(crate) fn new(bundle: &Path, plan: &Plan, order: &Order) -> Self {
        let mut path = bundle.as_os_str().to_owned();
        path.push(".resume");
        let incident = order.incident.as_deref().map(Digests::of);
        let text = json!({
            "plan": plan_hash(plan, order),
            "name": order.name,
            "tlp": order.tlp.name(),
            "case": order.case,
            "operator": order.operator,
            "compression": order.compression.name(),
            "incident": incident.map(|digests| hex(&digests.blake3)),
        });
        Self {
            path: path.into(),
            plan: hex(&Digests::of(text.to_string().as_bytes()).blake3),
            part: 1,
        }
    }

    /// Notes a checkpoint of the part that is being written.
    pub(crate) fn write(&self, logged: &Logged) -> io::Result<()> {
        self.put(Some((self.part, logged)))
    }

    /// Notes that a part is begun, which goes on from a checkpoint of that part.
    pub(crate) fn begin(&self, from: Option<(u32, &Logged)>) -> io::Result<()> {
        self.put(from)
    }

    /// Puts it on the device: it is replaced as a whole, so that a cut leaves the one before.
    fn put(&self, logged: Option<(u32, &Logged)>) -> io::Result<()> {
        let cursor = logged.map_or_else(Cursor::default, |(_, logged)| logged.cursor);
        let state = State {
            plan: self.plan.clone(),
            part: self.part,
            cursor: cursor.lines(),
            lines_blake3: cursor.blake3(),
            warnings: logged.map_or(0, |(_, logged)| logged.warnings),
            losses: logged.map_or(0, |(_, logged)| logged.losses),
            checkpoint: logged.map(|(_, logged)| logged.checkpoint),
            checkpoint_blake3: logged.map(|(_, logged)| logged.blake3.clone()),
            checkpoint_part: logged.map(|(part, _)| part),
            last: logged.is_some_and(|(_, logged)| logged.is_last),
        };
        let text = serde_json::to_string(&state)?;
        let mut new = self.path.as_os_str().to_owned();
        new.push(".new");
        let new = PathBuf::from(new);
        let mut file = File::create(&new)?;
        writeln!(file, "{text}")?;
        file.sync_data()?;
        drop(file);
        fs::rename(new, &self.path)?;
        sync_folder(&self.path)
    }

    /// Reads it.
    ///
    /// # Errors
    /// Where there is none, or it is not as it is written.
    pub(crate) fn read(&self) -> io::Result<State> {
        let mut text = Vec::new();
        let file = File::open(&self.path)?;
        file.take(STATE_LIMIT + 1).read_to_end(&mut text)?;
        if text.len() as u64 > STATE_LIMIT {
            let why = format!("it has more than {STATE_LIMIT} bytes, and no such file has");
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        Ok(serde_json::from_slice(&text)?)
    }

    /// Whether there is one.
    pub(crate) fn exists(&self) -> bool {
        self.path.symlink_metadata().is_ok()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it, where there is one.
    pub(crate) fn remove(&self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    /// Removes it: the bundle is whole, and is no less so where that fails. One that stays behind is heeded only
    /// beside a bundle that is cut, and the next collection of that name replaces it before it writes anything.
    pub(crate) fn remove_if_possible(&self) {
        drop(self.remove());
    }

    /// Whether it is of another plan; one that is missing or no JSON says nothing, and a bundle
    /// says the same in clear.
    pub(crate) fn is_of_another(&self) -> bool {
        self.read().is_ok_and(|state| !self.is_of(&state))
    }

    /// Whether that was asked for here.
    pub(crate) fn is_of(&self, state: &State) -> bool {
        state.plan == self.plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_side_file_is_read_up_to_its_limit_and_removed_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let side = SideFile {
            path: folder.path().join("case.resume"),
            plan: "plan".into(),
            part: 1,
        };
        side.begin(None).expect("written");
        assert!(side.is_of(&side.read().expect("as it was written")));
        // As JSON it would be sound: blanks may stand anywhere.
        let mut text = fs::read(&side.path).expect("there");
        text.resize(STATE_LIMIT as usize, b' ');
        fs::write(&side.path, &text).expect("written");
        side.read().expect("as long as it may be");
        text.push(b' ');
        fs::write(&side.path, &text).expect("written");
        let refused = side.read().expect_err("too long");
        assert!(refused.to_string().contains("65536 bytes"), "{refused}");
        side.remove().expect("removed");
        side.remove().expect("nothing to remove");
        assert!(!side.exists());
    }
}
