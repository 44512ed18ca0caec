//! Hostile bytes for every decoder.
//!
//! The first byte picks the decoder; with `FUZZ_ONLY=ID` that one gets all bytes, so that samples
//! and seeds are plain files. `FUZZ_ONLY=list` prints the ids.
#![no_main]

mod bitlocker;
mod bundle;
mod codec;
mod custody;
mod decoders;
mod delivery;
mod discard;
mod disk_images;
mod encrypted;
mod image;
#[path = "../../crates/testkit/src/bitlocker.rs"]
#[allow(dead_code, reason = "the workspace's own tests use the rest")]
mod made_bitlocker;
#[path = "../../crates/testkit/src/ex01.rs"]
#[allow(dead_code, reason = "the workspace's own tests use the rest")]
mod made_ex01;
#[path = "../../crates/testkit/src/shadow.rs"]
#[allow(dead_code, reason = "the workspace's own tests use the rest")]
mod made_shadows;
mod ntfs;
mod parts;
mod patch;
mod plan;
mod proof;
#[path = "../../crates/bundle/src/proof/file.rs"]
#[allow(dead_code, reason = "it is the bundle's own")]
mod proof_file;
mod shadow;
#[path = "../../crates/testkit/src/virtual_disk.rs"]
#[allow(dead_code, reason = "the workspace's own tests use the rest")]
mod virtual_disk;
mod words;

use std::{env, process, sync::OnceLock};

use decoders::{Decoder, all};
use libfuzzer_sys::fuzz_target;

struct Setup {
    decoders: Vec<Decoder>,
    only: Option<usize>,
}

static SETUP: OnceLock<Setup> = OnceLock::new();

fn setup() -> Setup {
    let decoders = all();
    let only = env::var("FUZZ_ONLY").ok().map(|id| {
        if id == "list" {
            decoders
                .iter()
                .for_each(|decoder| println!("{}", decoder.id));
            process::exit(0);
        }
        decoders
            .iter()
            .position(|decoder| decoder.id == id)
            .unwrap_or_else(|| panic!("no decoder is called {id}; FUZZ_ONLY=list names them"))
    });
    Setup { decoders, only }
}

fuzz_target!(
    init: { SETUP.get_or_init(setup); },
    |data: &[u8]| {
        let setup = SETUP.get_or_init(setup);
        match (setup.only, data) {
            (Some(index), data) => setup.decoders[index].decode(data),
            (None, [pick, data @ ..]) => {
                let index = usize::from(*pick) % setup.decoders.len();
                setup.decoders[index].decode(data);
            }
            (None, []) => {}
        }
    }
);
