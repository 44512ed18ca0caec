//! Mixed evidence, as a collection from a host would have it.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;

use super::{log, seeded::Seeded, tree::WORDS};

/// Writes about `total` bytes below `root`: 30 % event logs, 20 % like hives, 10 % `$MFT`, 15 %
/// programs of this system, 10 % text logs, 10 % that won't compress, 5 % like databases.
pub(crate) fn evidence(root: &Path, big_log: &Path, mft: &Path, total: u64) -> anyhow::Result<()> {
    let mut mix = Mix {
        root,
        rng: Seeded::new(4),
        written: 0,
    };
    let percent = |share: u64| total * share / 100;
    mix.event_logs(big_log, percent(30))?;
    mix.hives(percent(50))?;
    let mft = fs::read(mft)?;
    mix.put("mft/$MFT", &mft[..mft.len().min(percent(10) as usize)])?;
    drop(mft);
    mix.programs(percent(75))?;
    mix.text_logs(percent(85))?;
    mix.noise(percent(95))?;
    mix.databases(total)
}

struct Mix<'a> {
    root: &'a Path,
    rng: Seeded,
    written: u64,
}

impl Mix<'_> {
    fn put(&mut self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let path = self.root.join(name);
        fs::create_dir_all(path.parent().context("a folder")?)?;
        fs::write(&path, bytes).with_context(|| path.display().to_string())?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn event_logs(&mut self, big_log: &Path, until: u64) -> anyhow::Result<()> {
        let log = fs::read(big_log)?;
        let mut at = log::HEADER;
        for number in 0.. {
            if self.written >= until {
                break;
            }
            let chunks = [1, 1, 1, 4, 20][self.rng.below(5)] * 16;
            if at + chunks * log::CHUNK > log.len() {
                at = log::HEADER;
            }
            let end = log.len().min(at + chunks * log::CHUNK);
            let mut bytes = log::header(chunks as u16, 1);
            bytes.extend_from_slice(&log[at..end]);
            at = end;
            self.put(&format!("evtx/log{number:04}.evtx"), &bytes)?;
        }
        Ok(())
    }

    fn hives(&mut self, until: u64) -> anyhow::Result<()> {
        let base = self.hive(16 << 20);
        for number in 0.. {
            if self.written >= until {
                break;
            }
            let size = [1, 2, 8, 16][self.rng.below(4)] << 20;
            let mut bytes = base[..size].to_vec();
            // Copies differ in a byte of each 512.
            for _ in 0..size / 512 {
                let at = self.rng.below(size);
                bytes[at] = self.rng.next() as u8;
            }
            self.put(&format!("registry/HIVE{number:03}"), &bytes)?;
        }
        Ok(())
    }

    /// Pages of cells as a hive has them: keys, values, UTF-16 data, zeros to the page's end.
    fn hive(&mut self, size: usize) -> Vec<u8> {
        const PAGE: usize = 4096;
        const FILLED: usize = 3700;
        let mut hive = b"regf".to_vec();
        hive.resize(PAGE, 0);
        while hive.len() < size {
            let start = hive.len();
            hive.extend_from_slice(b"hbin");
            hive.extend_from_slice(&((start - PAGE) as u32).to_le_bytes());
            hive.extend_from_slice(&[0; 24]);
            while hive.len() - start < FILLED {
                let mut key = b"nk\x20\0".to_vec();
                key.extend(self.rng.next().to_le_bytes());
                key.extend([0; 60]);
                key.extend(self.rng.pick(WORDS).bytes());
                push_cell(&mut hive, &key);
                for _ in 0..self.rng.below(4) {
                    let mut value = b"vk".to_vec();
                    value.extend(self.rng.next().to_le_bytes());
                    value.extend([1, 0, 0, 0, 1, 0, 0, 0]);
                    value.extend(self.rng.pick(WORDS).bytes());
                    push_cell(&mut hive, &value);
                    let data = if self.rng.permille(600) {
                        let (folder, file) = (self.rng.pick(WORDS), self.rng.pick(WORDS));
                        format!("C:\\Program Files\\{folder}\\{file}.dll\0")
                            .encode_utf16()
                            .flat_map(u16::to_le_bytes)
                            .collect()
                    } else {
                        let length = self.rng.between(4, 60);
                        self.rng.bytes(length)
                    };
                    push_cell(&mut hive, &data);
                }
            }
            hive.resize(start + PAGE, 0);
        }
        hive.truncate(size);
        hive
    }

    fn programs(&mut self, until: u64) -> anyhow::Result<()> {
        let mut found = Vec::new();
        programs_below(Path::new("/usr/bin"), &mut found)?;
        programs_below(Path::new("/usr/lib"), &mut found)?;
        found.sort();
        for (number, path) in found.iter().enumerate() {
            if self.written >= until {
                break;
            }
            let bytes = fs::read(path).with_context(|| path.display().to_string())?;
            self.put(&format!("exe/{number:04}.bin"), &bytes)?;
        }
        Ok(())
    }

    fn text_logs(&mut self, until: u64) -> anyhow::Result<()> {
        const LINES: usize = 20_000;
        for number in 0.. {
            if self.written >= until {
                break;
            }
            let mut time = 1_700_000_000;
            let mut text = String::new();
            for _ in 0..LINES {
                time += self.rng.below(21);
                let (host, word) = (self.rng.between(1, 254), self.rng.pick(WORDS));
                let (page, bytes) = (self.rng.below(1 << 24), self.rng.below(100_000));
                let status = [200, 200, 200, 304, 404, 500][self.rng.below(6)];
                write!(
                    text,
                    "{time} 10.0.{}.{host} GET /{word}/{page:x}.aspx 443 - Mozilla/5.0 {status} {bytes}\r\n",
                    self.rng.below(10)
                )?;
            }
            self.put(&format!("logs/u_ex{number:04}.log"), text.as_bytes())?;
        }
        Ok(())
    }

    fn noise(&mut self, until: u64) -> anyhow::Result<()> {
        for number in 0.. {
            if self.written >= until {
                break;
            }
            let length = self.rng.between(20_000, 4 << 20);
            let bytes = self.rng.bytes(length);
            self.put(&format!("compressed/{number:04}.jpg"), &bytes)?;
        }
        Ok(())
    }

    fn databases(&mut self, until: u64) -> anyhow::Result<()> {
        const PAGE: usize = 4096;
        const PAGES: usize = 1024;
        for number in 0.. {
            if self.written >= until {
                break;
            }
            let mut bytes = b"SQLite format 3\0".to_vec();
            for page in 1..=PAGES {
                for _ in 0..self.rng.between(10, 60) {
                    let (host, query) = (self.rng.pick(WORDS), self.rng.pick(WORDS));
                    let path = self.rng.next() >> 24;
                    bytes.extend(format!("https://{host}.example/{path:x}?q={query}").bytes());
                }
                bytes.resize(page * PAGE, 0);
            }
            self.put(&format!("sqlite/History{number:03}"), &bytes)?;
        }
        Ok(())
    }
}

fn push_cell(out: &mut Vec<u8>, content: &[u8]) {
    let length = (content.len() + 4).next_multiple_of(8);
    out.extend_from_slice(&(-(length as i32)).to_le_bytes());
    out.extend_from_slice(content);
    out.resize(out.len() + length - 4 - content.len(), 0);
}

fn programs_below(folder: &Path, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    const SIZES: std::ops::Range<u64> = 4096..64 << 20;
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            programs_below(&entry.path(), found)?;
        } else if kind.is_file() && SIZES.contains(&entry.metadata()?.len()) {
            let name = entry.file_name();
            if folder.ends_with("bin") || name.to_string_lossy().contains(".so") {
                found.push(entry.path());
            }
        }
    }
    Ok(())
}
