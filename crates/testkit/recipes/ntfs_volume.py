"""Makes an NTFS volume of known content with other people's tools: ntfs-3g writes, libwim compresses.

    ntfs_volume.py FOLDER FILES

FOLDER gets `volume.raw` and `manifest.tsv`: kind, path, stream, size, SHA-256. Kinds are `stream`
(what has to be read back), `deleted` (a path that is gone; what it held) and `link` (a further path; in the
place of the hash stands the first one); `action` (what the journal says was done to a path: the stream is
the reason, the size the time as FILETIME) and `finding` (what speaks against a path: the stream is its name). Needs root, ntfs-3g, wimtools and libwim15.

Each theme is one function; a further one is added to THEMES. The same arguments make the same content.
"""

import ctypes, hashlib, mmap, os, random, shutil, struct, subprocess, sys

SIZE = 512 << 20
CLUSTER = 4096
# The name of a kind: number in the reparse point, libwim's compressor, bytes a chunk.
WOF = {"xpress4k": (0, 1, 4096), "xpress8k": (2, 1, 8192), "xpress16k": (3, 1, 16384), "lzx": (1, 2, 32768)}


class Volume:
    def __init__(self, folder, files):
        self.folder, self.files = folder, files
        self.image = os.path.join(folder, "volume.raw")
        self.mount = os.path.join(folder, "mount")
        self.manifest = open(os.path.join(folder, "manifest.tsv"), "w")
        self.random = random.Random(8)
        self.wim = ctypes.CDLL("libwim.so.15")
        self.wim.wimlib_create_compressor.argtypes = [ctypes.c_int, ctypes.c_size_t, ctypes.c_uint, ctypes.POINTER(ctypes.c_void_p)]
        self.wim.wimlib_compress.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p]
        self.wim.wimlib_compress.restype = ctypes.c_size_t
        self.wim.wimlib_free_compressor.argtypes = [ctypes.c_void_p]

    def note(self, kind, path, stream="", data=b"", text=None, size=None):
        text = hashlib.sha256(data).hexdigest() if text is None else text
        size = len(data) if size is None else size
        self.manifest.write(f"{kind}\t{path}\t{stream}\t{size}\t{text}\n")

    def at(self, path):
        return os.path.join(self.mount, path)

    def put(self, path, data, stream=""):
        """A file, or a further stream of one."""
        os.makedirs(os.path.dirname(self.at(path)), exist_ok=True)
        with open(self.at(path) + (":" + stream if stream else ""), "wb") as f:
            f.write(data)
        self.note("stream", path, stream, data)

    def content(self, size):
        """Bytes that compress: words, runs, code-like fields, and some noise."""
        r, out = self.random, bytearray()
        while len(out) < size:
            kind = r.randrange(5)
            if kind == 0:
                out += b" ".join(r.choice((b"seal", b"evidence", b"volume", b"stream", b"range")) for _ in range(40))
            elif kind == 1:
                out += bytes([r.randrange(256)]) * r.randrange(1, 700)
            elif kind == 2:
                out += b"".join(b"\xe8" + struct.pack("<i", r.randrange(-9000, 9000)) for _ in range(30))
            elif kind == 3:
                out += r.randbytes(r.randrange(1, 300))
            else:
                out += out[-r.randrange(1, 4000):][: r.randrange(3, 900)]
        return bytes(out[:size])


def many_files(v):
    """Small files in folders, put on the volume without mounting it."""
    tree = os.path.join(v.folder, "tree")
    for number in range(v.files):
        folder = f"many/{number // 500:03}"
        os.makedirs(os.path.join(tree, folder), exist_ok=True)
        data = f"file {number} ".encode() * (number % 90)
        with open(os.path.join(tree, folder, f"file-{number:05}.txt"), "wb") as f:
            f.write(data)
        v.note("stream", f"{folder}/file-{number:05}.txt", "", data)
    wim = os.path.join(v.folder, "tree.wim")
    run("wimlib-imagex", "capture", tree, wim, "--compress=none", "--no-acls")
    run("wimlib-imagex", "apply", wim, "1", v.image)
    shutil.rmtree(tree)
    os.remove(wim)


def wof(v):
    """Files as `compact /exe` leaves them: sizes around chunks, and one of each kind that is long."""
    for name, (number, kind, chunk) in WOF.items():
        compressor = ctypes.c_void_p()
        assert v.wim.wimlib_create_compressor(kind, chunk, 50, ctypes.byref(compressor)) == 0
        for size in (0, 1, 2, 100, chunk - 1, chunk, chunk + 1, 5 * chunk, 5 * chunk + 77, 3_000_001):
            path, data = f"wof/{name}/{size}.bin", v.content(size)
            if size == 5 * chunk:
                data = v.random.randbytes(size)
            parts, room = [], ctypes.create_string_buffer(chunk)
            for at in range(0, size, chunk):
                part = data[at:at + chunk]
                n = v.wim.wimlib_compress(part, len(part), room, len(part) - 1, compressor) if len(part) > 1 else 0
                parts.append(room.raw[:n] if n else part)
            table, end = b"", 0
            for part in parts[:-1]:
                end += len(part)
                table += struct.pack("<I", end)
            os.makedirs(os.path.dirname(v.at(path)), exist_ok=True)
            with open(v.at(path), "wb"):
                pass
            os.truncate(v.at(path), size)
            v.note("stream", path, "", data)
            v.put(path, table + b"".join(parts), "WofCompressedData")
            body = struct.pack("<IIIII", 1, 2, 1, number, 0)
            os.setxattr(v.at(path), "system.ntfs_reparse_data", struct.pack("<IHH", 0x80000017, len(body), 0) + body)
        v.wim.wimlib_free_compressor(compressor)


def compressed(v):
    """Files that NTFS compresses, with units that are holes and units that did not shrink."""
    os.makedirs(v.at("lznt1"))
    os.setxattr(v.at("lznt1"), "system.ntfs_attrib_be", struct.pack(">I", 0x810))
    for size in (1, 700, 4096, 65535, 65536, 65537, 1_000_003):
        v.put(f"lznt1/{size}.bin", v.content(size))
    v.put("lznt1/noise.bin", v.random.randbytes(300_000))
    v.put("lznt1/mixed.bin", v.content(200_000) + bytes(400_000) + v.random.randbytes(200_000) + v.content(90_000))


def sparse_and_fragmented(v):
    """Holes, and so many runs that they need an attribute list."""
    pieces, data = 2000, bytearray(2000 * 2 * CLUSTER)
    with open(v.at("sparse.bin"), "wb") as f:
        for piece in range(pieces):
            part = v.random.randbytes(CLUSTER)
            at = piece * 2 * CLUSTER
            f.seek(at)
            f.write(part)
            data[at:at + CLUSTER] = part
        f.truncate(len(data))
    v.note("stream", "sparse.bin", "", bytes(data))
    shutil.copyfile(v.at("sparse.bin"), v.at("fragmented.bin"))
    # Written backwards, so that no piece lies behind the one before it.
    with open(v.at("fragmented.bin"), "r+b") as f:
        for piece in reversed(range(pieces)):
            part = v.random.randbytes(CLUSTER)
            at = (piece * 2 + 1) * CLUSTER
            f.seek(at)
            f.write(part)
            f.flush()
            data[at:at + CLUSTER] = part
    v.note("stream", "fragmented.bin", "", bytes(data))


def streams(v):
    """A thousand streams, most of them on one file."""
    v.put("streams.txt", b"main")
    for number in range(900):
        v.put("streams.txt", f"stream {number}".encode() * (number % 200), f"s{number:03}")
    for number in range(100):
        v.put(f"ads/{number}.txt", b"m")
        v.put(f"ads/{number}.txt", b"[ZoneTransfer]\r\nZoneId=3\r\n", "Zone.Identifier")


def names(v):
    """Hard links, deep paths, long and foreign names."""
    v.put("links/one.txt", b"linked")
    for number in range(30):
        path = f"links/other-{number}.txt"
        os.link(v.at("links/one.txt"), v.at(path))
        v.note("link", path, text="links/one.txt")
    deep = "/".join(f"level-{number:02}" for number in range(60))
    v.put(f"{deep}/bottom.txt", b"deep")
    v.put("names/" + "n" * 250 + ".txt", b"long")
    v.put("names/\u00e9t\u00e9 \U0001f50d.txt", b"foreign")


def deleted(v):
    """Files that are gone: their clusters free, or taken since."""
    for number in range(40):
        path = f"gone/{number}.bin"
        v.put(path + ".kept", b"kept")
        data = bytes([number]) * (100 if number % 2 else 50_000)
        with open(v.at(path), "wb") as f:
            f.write(data)
        v.note("deleted", path, "", data)
    # Its record is taken before others are free; its clusters are not.
    open(v.at("gone/since.bin"), "wb").close()
    for number in range(40):
        os.remove(v.at(f"gone/{number}.bin"))
    v.put("gone/since.bin", v.random.randbytes(400_000))


def no_journal(v):
    """The file of the journal, before others take the first free records."""
    empty = os.path.join(v.folder, "empty")
    open(empty, "wb").close()
    run("ntfscp", "-f", v.image, empty, "/$Extend/$UsnJrnl")


def life(v):
    """Files that come, get another name, another folder, other times, and go."""
    os.makedirs(v.at("life/after"))
    v.entry = {path: os.stat(v.at(path)).st_ino for path in ("life", "life/after")}
    for name in LIVES:
        path = f"life/{name}.txt"
        with open(v.at(path), "wb") as f:
            f.write(name.encode() * 40)
        v.entry[path] = os.stat(v.at(path)).st_ino
    os.rename(v.at("life/renamed.txt"), v.at("life/other name.txt"))
    os.rename(v.at("life/moved.txt"), v.at("life/after/moved.txt"))
    for path, name in (("life/kept.txt", "kept"), ("life/other name.txt", "renamed"), ("life/after/moved.txt", "moved"), ("life/forged.txt", "forged")):
        v.note("stream", path, "", name.encode() * 40)


def end_of_life(v):
    """The last thing done, so that nobody takes the record."""
    os.remove(v.at("life/gone.txt"))
    v.note("deleted", "life/gone.txt", "", b"gone" * 40)


def records(v, wanted):
    """Where the records of entries lie in the image, and their references while the files were there."""
    found = {}
    with open(v.image, "rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as image:
        at = image.find(b"FILE")
        while at >= 0:
            sequence, _, _, flags = struct.unpack_from("<HHHH", image, at + 0x10)
            number = struct.unpack_from("<I", image, at + 0x2C)[0]
            if at % 1024 == 0 and number in wanted:
                found[number] = (at, number | (sequence if flags & 1 else sequence - 1) << 48)
            at = image.find(b"FILE", at + 4)
    assert len(found) == len(wanted), (found, wanted)
    return found


def forge(v):
    """Patches the creation in $STANDARD_INFORMATION of one file, and puts in a journal of what was done."""
    found = records(v, set(v.entry.values()))
    place = {path: found[entry][0] for path, entry in v.entry.items()}
    reference = {path: found[entry][1] for path, entry in v.entry.items()}
    with open(v.image, "r+b") as f:
        f.seek(place["life/forged.txt"])
        record = f.read(1024)
        attribute = struct.unpack_from("<H", record, 0x14)[0]
        assert struct.unpack_from("<I", record, attribute)[0] == 0x10
        content = attribute + struct.unpack_from("<H", record, attribute + 0x14)[0]
        clock = struct.unpack_from("<Q", record, content)[0]
        f.seek(place["life/forged.txt"] + content)
        f.write(struct.pack("<Q", FORGED))
    for finding in ("si-created-before-fn", "si-zero-sub-seconds", "si-created-before-volume", "si-created-before-usn"):
        v.note("finding", "life/forged.txt", finding, text="")
    journal = bytearray()

    def change(path, reason, word, now=None):
        """A record of version 2: who, in which folder, when, why."""
        nonlocal clock
        # All of them came within the same second.
        clock += 1_001 if reason & 0x100 else 10_000_001
        folder, name = os.path.split(now or path)
        units = name.encode("utf-16-le")
        length = (60 + len(units) + 7) // 8 * 8
        if len(journal) % 4096 + length > 4096:
            journal.extend(bytes(-len(journal) % 4096))
        head = struct.pack("<IHHQQQQIIIIHH", length, 2, 0, reference[path], reference[folder], len(journal), clock, reason, 0, 0, 0x20, len(units), 60)
        journal.extend((head + units).ljust(length, b"\0"))
        v.note("action", now or path, word, text="", size=clock)

    for name in LIVES:
        change(f"life/{name}.txt", 0x100, "file-create")
        change(f"life/{name}.txt", 0x80000102, "data-extend+file-create+close")
    for path, now in (("life/renamed.txt", "life/other name.txt"), ("life/moved.txt", "life/after/moved.txt")):
        change(path, 0x1000, "rename-old-name")
        change(path, 0x2000, "rename-new-name", now)
        change(path, 0x80002000, "rename-new-name+close", now)
    change("life/forged.txt", 0x80008000, "basic-info-change+close")
    change("life/gone.txt", 0x80000200, "file-delete+close")
    path = os.path.join(v.folder, "journal")
    with open(path, "wb") as f:
        f.write(journal)
    run("ntfscp", "-f", "-N", "$J", v.image, path, "/$Extend/$UsnJrnl")


LIVES = ("kept", "renamed", "moved", "forged", "gone")
# 2001-01-01, a whole second.
FORGED = 126227808000000000
# In the order in which they are done. Those before and after the mount work on the image.
UNMOUNTED = [many_files, no_journal]
THEMES = [wof, compressed, sparse_and_fragmented, streams, names, life, deleted, end_of_life]
AFTER = [forge]


def run(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        sys.exit(f"{command}: {done.stdout.decode(errors='replace')}")


def main():
    v = Volume(sys.argv[1], int(sys.argv[2]))
    with open(v.image, "wb") as f:
        f.truncate(SIZE)
    run("mkntfs", "-F", "-Q", "-c", str(CLUSTER), "-L", "recipe", v.image)
    for theme in UNMOUNTED:
        theme(v)
    os.makedirs(v.mount, exist_ok=True)
    run("ntfs-3g", v.image, v.mount, "-o", "streams_interface=windows,compression")
    try:
        for theme in THEMES:
            theme(v)
    finally:
        run("umount", v.mount)
    for theme in AFTER:
        theme(v)
    v.manifest.close()


main()
