//! Write, seal, read and verify bundles.
//!
//! A bundle is a Zip64 archive of one BagIt bag, signed with OpenPGP, in one canonical form; the
//! format is written down in `FORMAT.md`. [`BundleWriter`] makes one, [`verify`] checks one,
//! [`Bundle`] reads one as the volumes that it was collected from.

mod archive;
mod armour;
mod begun;
mod checkpoint;
mod codec;
mod crypt;
mod custody;
mod cut;
mod detached;
mod details_line;
mod ends;
mod error;
mod export;
mod file_line;
mod key;
mod ledger;
mod limits;
mod logged;
mod member;
mod names;
mod open;
mod output;
mod parts;
mod proof;
mod reader;
mod records;
mod resume;
mod salvage;
mod seal;
mod self_signed;
mod stamp;
mod stored;
mod take;
mod text;
mod trust;
mod verify;
mod volumes;
mod wiped;
mod writer;
mod zip;

pub use begun::is_cut_at_its_head;
pub use codec::Compression;
pub use crypt::{Ciphertext, DecryptKey, Decrypted, Encrypted, Ending, Recipient, SessionKey};
pub use custody::{Custody, CustodyAction, CustodyLine, CustodyOptions, CustodyProblem, Deed};
pub use cut::{Covered, Cut};
pub use error::Error;
pub use export::{CreateFile, export_parts};
pub use key::{Certificate, SealKey};
pub use limits::BAG_INFO_LIMIT;
pub use logged::{Cursor, Listener, Logged};
pub use open::Bundle;
pub use output::{Output, PartialFile, sync_folder};
pub use parts::Part;
pub use proof::Proof;
pub use records::{
    Act, Collection, CollectionLoss, Deployment, EncryptionRecord, FORMAT, Plan, Resumed, Salvaged,
    Tool, VolumeRecord,
};
pub use salvage::{Salvage, salvage, salvage_message};
pub use seal::Sealed;
pub use stamp::{AskTime, STAMP_LIMIT, StampAuthority, StampRequest, Stamper, stamp_time};
pub use take::{Added, Source, Stream};
pub use text::{grouped, written_hash};
pub use trust::Terms;
pub use verify::{
    CheckedProof, Problem, Scope, Signer, Stamped, Verdict, Verification, VerifyOptions, verify,
    verify_bag, verify_begun, verify_encrypted, verify_parts,
};
pub use wiped::read_secret;
pub use writer::{BundleWriter, Options};
