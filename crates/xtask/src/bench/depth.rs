//! What is measured of NTFS in depth: packed files, journals, shadow copies.

use std::path::Path;

use super::{
    Row, WITH_LOSSES,
    measure::{Side, output, run},
};

/// A rate that is asked for, in no comparison.
pub(super) struct Rate {
    pub(super) id: &'static str,
    pub(super) work: &'static str,
    pub(super) side: Side,
    /// How much it works through, and in which unit.
    pub(super) amount: f64,
    pub(super) unit: &'static str,
    /// How much of that a core has to do in a second.
    pub(super) goal: f64,
}

/// What the packed files unpack to, in MB; see `packed.py`.
const PACKED_MB: f64 = 134.217_728;

/// Makes the volume of packed files, and the peer that unpacks the same.
pub(super) fn packed(folder: &Path, programs: &Path) -> anyhow::Result<()> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bench");
    let text = |path: &Path| path.display().to_string();
    let peer = folder.join("wimlib");
    std::fs::create_dir_all(folder)?;
    run(
        "gcc",
        &[
            "-O2",
            "-o",
            &text(&peer),
            &text(&here.join("wimlib.c")),
            "-l:libwim.so.15",
        ],
    )?;
    run(
        "python3",
        &[
            &text(&here.join("packed.py")),
            &text(&folder.join("volume.raw")),
            &text(folder),
            &text(programs),
        ],
    )
}

/// The rows that compare.
pub(super) fn rows(scelle: &Path, xtask: &Path, data: &Path, out: &Path) -> Vec<Row> {
    let (s, x) = (scelle.display(), xtask.display());
    let (d, o) = (data.display(), out.display());
    let read = |path: &str, threads: u32| {
        Side::new(format!("{x} read {d}/packed/volume.raw {path} {threads}"))
    };
    let wimlib = |kind: u32, chunk: u32, name: &str| {
        Side::new(format!(
            "{d}/packed/wimlib {kind} {chunk} 134217728 {d}/packed/{name}.wof"
        ))
    };
    let timeline = |more: &str| {
        Side::new(format!(
            "{s} timeline {d}/shadows.raw {more} --format parquet --out {o}/timeline.parquet"
        ))
        .cleaned_by(format!("rm -f {o}/timeline.*"))
        .may_end_with(WITH_LOSSES)
    };
    let row = |id, work, peer, wall, ours, theirs| Row {
        id,
        work,
        peer,
        goal: (wall, None),
        ours,
        theirs,
        counts: None,
    };
    vec![
        row(
            "wof-xpress",
            "WOF stream of 128 MiB, XPRESS 4K, one thread",
            "`wimlib`",
            1.43,
            read("xpress.bin", 1),
            wimlib(1, 4096, "xpress"),
        ),
        row(
            "wof-xpress-2",
            "the same, two threads",
            "our own with one",
            0.556,
            read("xpress.bin", 2),
            read("xpress.bin", 1),
        ),
        row(
            "wof-lzx",
            "WOF stream of 128 MiB, LZX, one thread",
            "`wimlib`",
            1.43,
            read("lzx.bin", 1),
            wimlib(2, 32768, "lzx"),
        ),
        row(
            "wof-lzx-2",
            "the same, two threads",
            "our own with one",
            0.556,
            read("lzx.bin", 2),
            read("lzx.bin", 1),
        ),
        row(
            "shadow-copies",
            "timeline of a volume and its nine shadow copies",
            "our own of the volume alone",
            2.0,
            timeline("--shadow-copies"),
            timeline(""),
        ),
    ]
}

/// The rows that ask for a rate.
pub(super) fn rates(
    scelle: &Path,
    xtask: &Path,
    data: &Path,
    out: &Path,
) -> anyhow::Result<Vec<Rate>> {
    let (s, x) = (scelle.display(), xtask.display());
    let (d, o) = (data.display(), out.display());
    let records = output(&format!("cat {d}/journal/records"))?.parse()?;
    Ok(vec![
        Rate {
            id: "lznt1",
            work: "LZNT1 stream of 128 MiB",
            side: Side::new(format!(
                "{x} read {d}/packed/volume.raw lznt1/lznt1.bin 1"
            )),
            amount: PACKED_MB,
            unit: "MB",
            goal: 500.0,
        },
        Rate {
            id: "usnjrnl",
            work: "`$UsnJrnl` of 1 GiB to sorted Parquet with rewound paths",
            side: Side::new(format!(
                "{s} timeline {d}/journal/volume --artefact ntfs.usnjrnl --format parquet --out {o}/timeline.parquet"
            ))
            .cleaned_by(format!("rm -f {o}/timeline.*"))
            .may_end_with(WITH_LOSSES),
            amount: records,
            unit: "records",
            goal: 250_000.0,
        },
    ])
}
