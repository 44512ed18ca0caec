"""Makes an NTFS volume of packed files for the benchmark: ntfs-3g writes, libwim compresses.

    packed.py IMAGE FOLDER SOURCE

The files below SOURCE, one after another, 128 MiB of them, become the files xpress.bin and lzx.bin (WOF) and
lznt1.bin of IMAGE. FOLDER gets what libwim is to unpack, xpress.wof and lzx.wof, and is where the volume is mounted meanwhile.
"""

import ctypes, os, struct, subprocess, sys

BYTES = 128 << 20
# The name of a kind: number in the reparse point, libwim's compressor, bytes a chunk.
WOF = {"xpress": (0, 1, 4096), "lzx": (1, 2, 32768)}


def content(source):
    data = bytearray()
    for folder, folders, names in os.walk(source):
        folders.sort()
        for name in sorted(names):
            with open(os.path.join(folder, name), "rb") as file:
                data += file.read()
            if len(data) >= BYTES:
                return bytes(data[:BYTES])
    sys.exit(f"{source} holds less than {BYTES} bytes")


def packed(data, kind, chunk):
    """What WOF stores: the ends of all chunks but the last, then the chunks."""
    wim = ctypes.CDLL("libwim.so.15")
    wim.wimlib_create_compressor.argtypes = [ctypes.c_int, ctypes.c_size_t, ctypes.c_uint, ctypes.POINTER(ctypes.c_void_p)]
    wim.wimlib_compress.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p]
    wim.wimlib_compress.restype = ctypes.c_size_t
    compressor = ctypes.c_void_p()
    assert wim.wimlib_create_compressor(kind, chunk, 50, ctypes.byref(compressor)) == 0
    parts, room = [], ctypes.create_string_buffer(chunk)
    for at in range(0, len(data), chunk):
        part = data[at:at + chunk]
        size = wim.wimlib_compress(part, len(part), room, len(part) - 1, compressor)
        parts.append(room.raw[:size] if size else part)
    table, end = bytearray(), 0
    for part in parts[:-1]:
        end += len(part)
        table += struct.pack("<I", end)
    return bytes(table) + b"".join(parts)


def main(image, folder, source):
    data, mount = content(source), os.path.join(folder, "mount")
    os.makedirs(mount, exist_ok=True)
    with open(image, "wb") as file:
        file.truncate(1 << 30)
    subprocess.run(["mkntfs", "-F", "-Q", "-q", "-c", "4096", image], check=True)
    subprocess.run(["ntfs-3g", "-o", "streams_interface=windows,compression", image, mount], check=True)
    try:
        for name, (number, kind, chunk) in WOF.items():
            stream = packed(data, kind, chunk)
            with open(os.path.join(folder, name + ".wof"), "wb") as file:
                file.write(stream)
            path = os.path.join(mount, name + ".bin")
            with open(path, "wb") as file:
                file.truncate(len(data))
            with open(path + ":WofCompressedData", "wb") as file:
                file.write(stream)
            body = struct.pack("<IIIII", 1, 2, 1, number, 0)
            os.setxattr(path, "system.ntfs_reparse_data", struct.pack("<IHH", 0x80000017, len(body), 0) + body)
        # New files of a compressed folder are compressed.
        os.makedirs(os.path.join(mount, "lznt1"))
        os.setxattr(os.path.join(mount, "lznt1"), "system.ntfs_attrib_be", struct.pack(">I", 0x810))
        with open(os.path.join(mount, "lznt1", "lznt1.bin"), "wb") as file:
            file.write(data)
    finally:
        subprocess.run(["umount", mount], check=True)


main(*sys.argv[1:])
