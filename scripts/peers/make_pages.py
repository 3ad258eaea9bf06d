"""Packs S, the pages of the data benchmarks: the documentation of the Rust toolchain without core, alloc and the rest, as web
archives with a gzip member per record.

usage: make_pages.py FOLDER [--times N]

Writes FOLDER/00000.warc.gz with S itself, and for each further time one archive of as many pages with the markup of S: of two pages
one is a near copy of its original, with one long text in fifty replaced, and one is fresh, with each long text replaced by sentences
drawn from all of S. What is drawn depends on the number of the archive alone. Archives that exist are kept.
"""

import argparse
import multiprocessing
import os
import random
import re
import subprocess
import sys
import uuid
import zlib

PARTS = "book reference nomicon cargo rust-by-example std".split()
LONG = 40
SPLIT = re.compile(rb"(<script.*?</script>|<style.*?</style>|<[^>]*>)", re.S)
SENTENCE = re.compile(rb"(?<=[.!?])\s+")


def read_pages():
    root = subprocess.check_output(["rustc", "--print", "sysroot"], text=True).strip() + "/share/doc/rust/html"
    listed = sorted(
        os.path.join(folder, name)
        for part in PARTS
        for folder, _, names in os.walk(f"{root}/{part}")
        for name in names
        if name.endswith(".html")
    )
    if not listed:
        sys.exit(f"no pages in {root}: `rustup component add rust-docs` installs them")
    pages = []
    for path in listed:
        with open(path, "rb") as page:
            pages.append((os.path.relpath(path, root), page.read()))
    return pages


def record(url, body):
    http = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: %d\r\n\r\n" % len(body)
    head = (
        f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Record-ID: <urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, url)}>\r\n"
        f"WARC-Date: 2024-05-01T00:00:00Z\r\nWARC-Target-URI: {url}\r\n"
        f"Content-Type: application/http; msgtype=response\r\nContent-Length: {len(http) + len(body)}\r\n\r\n"
    )
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    return packer.compress(head.encode() + http + body + b"\r\n\r\n") + packer.flush()


def write(target, records):
    with open(target + ".part", "wb") as file:
        for one in records:
            file.write(one)
    os.rename(target + ".part", target)


def varied(pieces, sentences, chance, fresh):
    """The page with long texts replaced: all of them, or one in fifty."""
    out = []
    for piece in pieces:
        if len(piece) < LONG or piece.startswith(b"<") or (not fresh and chance.random() > 0.02):
            out.append(piece)
            continue
        length = 0
        while length < len(piece):
            one = sentences[chance.randrange(len(sentences))]
            length += len(one) + 1
            out += (one, b" ")
    return b"".join(out)


def archive(number):
    chance = random.Random(number)
    write(
        f"{FOLDER}/{number:05}.warc.gz",
        (
            record(f"https://docs-{number}.example.org/{path}", varied(pieces, SENTENCES, chance, chance.random() < 0.5))
            for path, pieces in SPLIT_PAGES
        ),
    )


def main():
    global FOLDER, SPLIT_PAGES, SENTENCES
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--times", type=int, default=1)
    options = parser.parse_args()
    FOLDER = options.folder
    os.makedirs(FOLDER, exist_ok=True)
    missing = [number for number in range(options.times) if not os.path.exists(f"{FOLDER}/{number:05}.warc.gz")]
    if not missing:
        return
    pages = read_pages()
    print(f"pages={len(pages)} html_bytes={sum(len(body) for _, body in pages)} of S")
    if 0 in missing:
        write(f"{FOLDER}/00000.warc.gz", (record(f"https://docs-0.example.org/{path}", body) for path, body in pages))
        missing.remove(0)
    if missing:
        SPLIT_PAGES = [(path, SPLIT.split(body)) for path, body in pages]
        long = (piece for _, pieces in SPLIT_PAGES for piece in pieces if len(piece) >= LONG and not piece.startswith(b"<"))
        SENTENCES = sorted({one for text in long for one in SENTENCE.split(text.strip()) if len(one) >= 20})
        with multiprocessing.get_context("fork").Pool() as pool:
            pool.map(archive, missing, chunksize=1)


if __name__ == "__main__":
    main()
