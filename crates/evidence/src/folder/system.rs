//! What the systems that we run on say of a file, each in its own way.

use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    fs::Metadata,
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

use scelle_event::UtcNanos;

use crate::Times;

/// What metadata says besides what the standard library says everywhere.
pub(super) struct Facts {
    pub(super) inode: Option<u64>,
    pub(super) allocated_bytes: u64,
    pub(super) knows_allocation: bool,
    pub(super) attributes: u32,
    /// The number of the file system that it lies on.
    pub(super) device: Option<u64>,
    /// A reparse point that the standard library does not take for a link.
    pub(super) is_junction: bool,
}

/// The times of a file.
pub(crate) fn times(stated: &Metadata) -> Times {
    // A time that the system does not keep is an error of this call, not of the evidence.
    let at = |time: std::io::Result<SystemTime>| time.ok().map(utc);
    Times {
        is_local: false,
        created: at(stated.created()),
        modified: at(stated.modified()),
        changed: changed(stated),
        accessed: at(stated.accessed()),
    }
}

/// Whether the kernel makes up what is at a place where a file system is mounted: it lies on no disk, its sizes mean
/// nothing, and some of its files never end.
#[cfg(target_os = "linux")]
pub(super) fn is_made_up(folder: &std::path::Path) -> bool {
    /// `f_type` of statfs(2), as in linux/magic.h.
    const KINDS: [u32; 20] = [
        0x0000_9FA0, // proc
        0x6265_6572, // sysfs
        0x0027_E0EB, // cgroup
        0x6367_7270, // cgroup2
        0x6462_6720, // debugfs
        0x7472_6163, // tracefs
        0x7363_6673, // securityfs
        0x0000_1CD1, // devpts
        0xCAFE_4A11, // bpf
        0x6165_676C, // pstore
        0xDE5E_81E4, // efivarfs
        0x4249_4E4D, // binfmt_misc
        0x9584_58F6, // hugetlbfs
        0x1980_0202, // mqueue
        0x6265_6570, // configfs
        0x6573_5543, // fusectl
        0xF97C_FF8C, // selinuxfs
        0x4341_5D53, // smackfs
        0x6E73_6673, // nsfs
        0x6759_6969, // rpc_pipefs
    ];
    rustix::fs::statfs(folder).is_ok_and(|said| KINDS.contains(&(said.f_type as u32)))
}

/// Where file systems of other machines are mounted, or would be as soon as somebody looks. The kernel's list tells it
/// without a look, which never ends where the other machine is gone. Other systems than Linux name none.
#[cfg(target_os = "linux")]
pub fn far_places() -> BTreeSet<PathBuf> {
    let list = std::fs::read("/proc/self/mountinfo");
    list.map_or_else(|_| BTreeSet::new(), |list| far_of(&list))
}

/// Nobody says it here.
#[cfg(not(target_os = "linux"))]
pub fn far_places() -> BTreeSet<PathBuf> {
    BTreeSet::new()
}

/// As [`far_places`], of such a list (proc_pid_mountinfo(5)).
#[cfg(target_os = "linux")]
fn far_of(list: &[u8]) -> BTreeSet<PathBuf> {
    use std::os::unix::ffi::OsStringExt as _;
    const KINDS: [&[u8]; 13] = [
        b"9p",
        b"afs",
        b"autofs",
        b"ceph",
        b"cifs",
        b"smb3",
        b"nfs",
        b"nfs4",
        b"lustre",
        b"fuse.sshfs",
        b"fuse.glusterfs",
        b"fuse.s3fs",
        b"fuse.rclone",
    ];
    let mut found = BTreeSet::new();
    for line in list.split(|byte| *byte == b'\n') {
        let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
        let end = words.iter().position(|word| *word == b"-");
        let (Some(at), Some(kind)) = (words.get(4), end.and_then(|end| words.get(end + 1))) else {
            continue;
        };
        let at = PathBuf::from(OsString::from_vec(unescaped(at)));
        // Of what is mounted at one place, the last covers the others.
        if KINDS.contains(kind) {
            found.insert(at);
        } else {
            found.remove(&at);
        }
    }
    found
}

/// A blank and the like stand there as `\ooo`, in octal.
#[cfg(target_os = "linux")]
fn unescaped(mut text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    while let Some((byte, rest)) = text.split_first() {
        let digits = rest.get(..3).and_then(|digits| str::from_utf8(digits).ok());
        let code = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code.filter(|_| *byte == b'\\') {
            Some(code) => {
                out.push(code);
                text = &rest[3..];
            }
            None => {
                out.push(*byte);
                text = rest;
            }
        }
    }
    out
}

#[cfg(not(target_os = "linux"))]
pub(super) fn is_made_up(_folder: &std::path::Path) -> bool {
    false
}

fn utc(time: SystemTime) -> UtcNanos {
    let nanos = match time.duration_since(UNIX_EPOCH) {
        Ok(after) => after.as_nanos().cast_signed(),
        Err(before) => -before.duration().as_nanos().cast_signed(),
    };
    UtcNanos::from_nanos(nanos)
}

#[cfg(unix)]
mod unix {
    use std::os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _};

    use super::*;

    /// `st_blocks` counts in these, whatever the file system's blocks are.
    const STAT_BLOCK_BYTES: u64 = 512;

    pub(crate) fn facts(stated: &Metadata) -> Facts {
        Facts {
            inode: Some(stated.ino()),
            allocated_bytes: stated.blocks().saturating_mul(STAT_BLOCK_BYTES),
            knows_allocation: true,
            attributes: 0,
            device: Some(stated.dev()),
            is_junction: false,
        }
    }

    pub(super) fn changed(stated: &Metadata) -> Option<UtcNanos> {
        let seconds = i128::from(stated.ctime()) * 1_000_000_000;
        Some(UtcNanos::from_nanos(
            seconds + i128::from(stated.ctime_nsec()),
        ))
    }

    /// The exact bytes of a name.
    pub(crate) fn name_bytes(name: &OsStr) -> Vec<u8> {
        name.as_bytes().to_vec()
    }

    /// The name that has these bytes; `None` where no file can have it.
    pub(crate) fn os_name(component: &[u8]) -> Option<OsString> {
        let is_name = !matches!(component, b"" | b"." | b"..") && !component.contains(&0);
        is_name.then(|| OsStr::from_bytes(component).to_owned())
    }
}
#[cfg(unix)]
use unix::changed;
#[cfg(unix)]
pub(crate) use unix::{facts, name_bytes, os_name};

#[cfg(windows)]
mod windows {
    use std::os::windows::{
        ffi::{OsStrExt as _, OsStringExt as _},
        fs::MetadataExt as _,
    };

    use scelle_event::EvidencePath;

    use super::*;

    const FILE_ATTRIBUTE_REPARSE_POINT: u32 = 0x400;

    pub(crate) fn facts(stated: &Metadata) -> Facts {
        let attributes = stated.file_attributes();
        let is_reparse = attributes & FILE_ATTRIBUTE_REPARSE_POINT != 0;
        Facts {
            inode: None,
            allocated_bytes: stated.len(),
            knows_allocation: false,
            attributes,
            // Volumes that are mounted in a folder are junctions.
            device: None,
            is_junction: is_reparse && stated.is_dir() && !stated.is_symlink(),
        }
    }

    /// Windows keeps it, and the standard library does not show it.
    pub(super) fn changed(_: &Metadata) -> Option<UtcNanos> {
        None
    }

    /// The exact UTF-16 of a name, as WTF-8.
    pub(crate) fn name_bytes(name: &OsStr) -> Vec<u8> {
        let mut bytes = EvidencePath::from_utf16(name.encode_wide())
            .as_bytes()
            .to_vec();
        // A target of a link is a path of many components.
        for byte in &mut bytes {
            if *byte == b'\\' {
                *byte = b'/';
            }
        }
        bytes
    }

    /// The name that has these bytes; `None` where no file can have it.
    pub(crate) fn os_name(component: &[u8]) -> Option<OsString> {
        let is_name = !matches!(component, b"" | b"." | b"..")
            && !component
                .iter()
                .any(|byte| matches!(byte, 0 | b'\\' | b':' | b'/'));
        if !is_name {
            return None;
        }
        utf16(component).map(|units| OsString::from_wide(&units))
    }
}
#[cfg(windows)]
use windows::changed;
#[cfg(windows)]
pub(crate) use windows::{facts, name_bytes, os_name};

/// The UTF-16 of WTF-8; `None` where the bytes are not that.
#[cfg(any(windows, test))]
fn utf16(wtf8: &[u8]) -> Option<Vec<u16>> {
    let mut units = Vec::with_capacity(wtf8.len());
    let mut rest = wtf8;
    loop {
        let (text, after) = match std::str::from_utf8(rest) {
            Ok(text) => (text, &[][..]),
            Err(error) => {
                let (good, after) = rest.split_at(error.valid_up_to());
                (std::str::from_utf8(good).ok()?, after)
            }
        };
        units.extend(text.encode_utf16());
        rest = match after {
            [] => return Some(units),
            [0xED, second @ 0xA0..=0xBF, third @ 0x80..=0xBF, after @ ..] => {
                units.push(0xD000 | u16::from(second & 0x3F) << 6 | u16::from(third & 0x3F));
                after
            }
            _ => return None,
        };
    }
}

#[cfg(test)]
mod tests {
    use scelle_event::EvidencePath;

    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn other_machines_are_known_by_the_kernels_list() {
        let list = b"21 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n\
            40 21 0:50 / /mnt/a\\040b rw shared:2 master:1 - nfs4 nas:/a rw\n\
            41 21 0:51 / /boot rw - autofs systemd-1 rw\n\
            42 41 8:2 / /boot rw - vfat /dev/sda2 rw\n\
            43 21 0:52 / /net rw - autofs auto.net rw\n\
            cut";
        let found: Vec<PathBuf> = far_of(list).into_iter().collect();
        assert_eq!(found, ["/mnt/a b", "/net"].map(PathBuf::from));
    }

    #[test]
    fn utf16_comes_back() {
        for units in [
            &[0x61, 0xD800, 0x62][..],
            &[0xDC00],
            &[0xD83D, 0xDE00, 0xE9],
            &[],
        ] {
            let path = EvidencePath::from_utf16(units.iter().copied());
            assert_eq!(utf16(path.as_bytes()).as_deref(), Some(units));
        }
        assert_eq!(utf16(b"a\xFF"), None);
    }
}
