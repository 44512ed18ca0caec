"""An SFTP server that is odd in one way: it stands between sshd and OpenSSH's own server.

    odd_sftp.py SFTP_SERVER ODDITY MARK

overwrites   a rename replaces a file that is there
sizeless     no answer says how large a file is
cut-at-end   the first question for a file after a rename ends it, once: MARK is a file that says so

Packets are those of draft-ietf-secsh-filexfer-02: a length, a kind, and what belongs to it.
"""

import os
import struct
import subprocess
import sys
import threading

RENAME, STAT, EXTENDED, ATTRS = 18, 17, 200, 105
HAS_SIZE = 1


def packets(pipe):
    while len(head := pipe.read(4)) == 4:
        body = pipe.read(struct.unpack(">I", head)[0])
        yield body[0], body[1:]


def send(pipe, kind, body):
    pipe.write(struct.pack(">IB", len(body) + 1, kind) + body)
    pipe.flush()


def answers(server, oddity):
    for kind, body in packets(server.stdout):
        if oddity == "sizeless" and kind == ATTRS:
            flags = struct.unpack(">I", body[4:8])[0]
            if flags & HAS_SIZE:
                body = body[:4] + struct.pack(">I", flags & ~HAS_SIZE) + body[16:]
        send(sys.stdout.buffer, kind, body)
    os._exit(0)


def main():
    program, oddity, mark = sys.argv[1:]
    server = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    threading.Thread(target=answers, args=(server, oddity), daemon=True).start()
    was_renamed = False
    for kind, body in packets(sys.stdin.buffer):
        if oddity == "overwrites" and kind == RENAME:
            name = b"posix-rename@openssh.com"
            kind, body = EXTENDED, body[:4] + struct.pack(">I", len(name)) + name + body[4:]
        was_renamed |= kind == RENAME
        if oddity == "cut-at-end" and kind == STAT and was_renamed and not os.path.exists(mark):
            open(mark, "w").close()
            server.kill()
            os._exit(1)
        send(server.stdin, kind, body)
    server.kill()


main()
