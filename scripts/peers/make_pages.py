"""Packs S, the pages that the data benchmarks use: the documentation of the Rust toolchain, without core, alloc and the
rest, as one web archive with a gzip member per record.

usage: make_pages.py OUT.warc.gz
"""

import io
import os
import subprocess
import sys

from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

PARTS = "book reference nomicon cargo rust-by-example std".split()


def pages(root):
    for part in PARTS:
        for folder, _, files in os.walk(f"{root}/{part}"):
            yield from (os.path.join(folder, name) for name in files if name.endswith(".html"))


def main(out):
    root = subprocess.check_output(["rustc", "--print", "sysroot"], text=True).strip() + "/share/doc/rust/html"
    listed = sorted(pages(root))
    if not listed:
        sys.exit(f"no pages in {root}: `rustup component add rust-docs` installs them")
    total = 0
    with open(out, "wb") as file:
        writer = WARCWriter(file, gzip=True)
        for path in listed:
            with open(path, "rb") as page:
                body = page.read()
            total += len(body)
            headers = StatusAndHeaders("200 OK", [("Content-Type", "text/html; charset=utf-8")], protocol="HTTP/1.1")
            url = "https://doc.example.org/" + os.path.relpath(path, root)
            record = writer.create_warc_record(url, "response", payload=io.BytesIO(body), http_headers=headers)
            writer.write_record(record)
    print(f"pages={len(listed)} html_bytes={total}")


if __name__ == "__main__":
    main(*sys.argv[1:])
