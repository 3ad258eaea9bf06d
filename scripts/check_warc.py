"""Web archives against stock tools: a site on loopback, crawled by wget, read by warcio and by `ingest`.

    python3 scripts/check_warc.py PIPE

Needs wget, and warcio, brotli and pyarrow for Python. Both readers must give the same pages, byte for byte, from the
archive as wget wrote it, recompressed by warcio, and uncompressed; and `clean` must give the texts of the site.
"""

import gzip
import http.server
import json
import os
import subprocess
import sys
import tempfile
import threading
import zlib
from pathlib import Path

import brotli
import pyarrow.parquet
from warcio.archiveiterator import ArchiveIterator
from warcio.recompressor import Recompressor

PIPE = os.path.realpath(sys.argv[1])
CHINESE = "守灯人每天晚上登上灯塔，为过往的船只点亮灯火。"
GERMAN = "Der Wärter steigt jeden Abend auf den Turm und zündet das Licht für die Boote an."
ENGLISH = "The keeper climbs the tower each evening, and lights the lamp for the boats."


def html(body, head=""):
    return f"<html><head><title>Light</title>{head}</head><body><p>{body}</p></body></html>"


def chunks(body):
    parts = [body[at : at + 37] for at in range(0, len(body), 37)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


HTML = "text/html"
# Path: status, headers, body as it is sent, and a text that the document must have.
SITE = {
    "/utf8": (200, {"Content-Type": HTML}, html(CHINESE).encode(), CHINESE),
    "/sent-gbk": (200, {"Content-Type": "text/html; charset=gb2312"}, html(CHINESE).encode("gbk"), CHINESE),
    "/meta-big5": (200, {"Content-Type": HTML}, html("燈塔與港口的故事", "<meta charset=big5>").encode("big5"), "燈塔"),
    "/wrong-charset": (200, {"Content-Type": "text/html; charset=iso-8859-1"}, html(GERMAN).encode(), GERMAN),
    "/latin1": (200, {"Content-Type": "text/html; charset=iso-8859-1"}, html(GERMAN).encode("latin-1"), GERMAN),
    "/gzip": (200, {"Content-Type": HTML, "Content-Encoding": "gzip"}, gzip.compress(html(ENGLISH).encode()), ENGLISH),
    "/deflate": (200, {"Content-Type": HTML, "Content-Encoding": "deflate"}, zlib.compress(html(ENGLISH).encode()), ENGLISH),
    "/brotli": (200, {"Content-Type": HTML, "Content-Encoding": "br"}, brotli.compress(html(GERMAN).encode()), GERMAN),
    "/chunked": (200, {"Content-Type": HTML, "Transfer-Encoding": "chunked"}, chunks(html(ENGLISH * 5).encode()), ENGLISH),
    "/text.txt": (200, {"Content-Type": "text/plain; charset=windows-1252"}, GERMAN.encode("cp1252"), GERMAN),
    "/untyped": (200, {}, html(ENGLISH).encode(), ENGLISH),
    "/table": (200, {"Content-Type": HTML}, b"a,b,c\n1,2,3\n" * 50, "a,b,c"),
    "/missing": (404, {"Content-Type": HTML}, html("No").encode(), None),
    "/moved": (302, {"Location": "/utf8"}, b"", None),
    "/picture.png": (200, {"Content-Type": "image/png"}, b"\x89PNG\r\n\x1a\n\0\0", None),
    "/empty": (200, {"Content-Type": HTML}, b"", None),
}


class Site(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        status, headers, body, _ = SITE.get(self.path, (404, {}, b"", None))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Transfer-Encoding" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def oracle(path):
    """The pages of an archive as warcio reads them: body by address."""
    pages = {}
    with open(path, "rb") as file:
        for record in ArchiveIterator(file):
            if record.rec_type != "response" or record.http_headers.get_statuscode() != "200":
                continue
            kind = record.http_headers.get_header("Content-Type") or HTML
            # Its support of Brotli is for another package of that name.
            is_brotli = record.http_headers.get_header("Content-Encoding") == "br"
            body = brotli.decompress(record.raw_stream.read()) if is_brotli else record.content_stream().read()
            if kind.startswith("text/") and body:
                pages[record.rec_headers.get_header("WARC-Target-URI").strip("<>")] = (kind, body)
    return pages


def documents(folder):
    rows = [row for path in sorted(folder.rglob("*.parquet")) for row in pyarrow.parquet.read_table(path).to_pylist()]
    return {row["url"].strip("<>"): row for row in rows}


def get(output):
    target = Path("got") / output
    subprocess.run([PIPE, "get", "m.yaml", output, target], check=True, stdout=subprocess.DEVNULL)
    return target


def main():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Path("crawl").mkdir()
        urls = [address + path for path in SITE]
        options = ["--quiet", "--header=Accept-Encoding: gzip, br", "--max-redirect=0", "--warc-file=crawl/site", "-P", "x"]
        subprocess.run(["wget", *options, *urls], env={**os.environ, "no_proxy": "*"})
        # As warcio writes it, and without compression.
        Recompressor("crawl/site.warc.gz", "crawl/again.warc.gz").recompress()
        Path("crawl/plain.warc").write_bytes(gzip.decompress(Path("crawl/site.warc.gz").read_bytes()))
        Path("m.yaml").write_text(
            "pipeline: m\nstages:\n"
            "  pages: { uses: ingest, with: { sources: [{ glob: 'crawl/*', format: warc, name: crawl }] } }\n"
            "  text: { uses: clean, needs: pages, with: { profile: none } }\n"
        )
        subprocess.run([PIPE, "run", "m.yaml"], check=True)
        expected = oracle("crawl/site.warc.gz")
        assert expected == oracle("crawl/again.warc.gz") and len(expected) >= 10, sorted(expected)
        pages = [row for path in sorted(get("pages").rglob("*.parquet")) for row in pyarrow.parquet.read_table(path).to_pylist()]
        ours = sorted(row["url"].strip("<>") for row in pages)
        assert ours == sorted(3 * list(expected)), (ours[::3], sorted(expected))
        for row in pages:
            kind, body = expected[row["url"].strip("<>")]
            if row["html"] is None:
                assert row["text"] == GERMAN, row
            else:
                assert row["html"] == body, (row["url"], row["html"][:80], body[:80])
            assert row["media_type"] in (kind, ""), row["media_type"]
        texts = documents(get("text"))
        for path, (*_, text) in SITE.items():
            assert text is None or text in texts[address + path]["text"], (path, texts[address + path]["text"])
        lines = [json.loads(line) for path in get("pages.rejected").rglob("*.jsonl") for line in path.read_text().splitlines()]
        # What wget notes of itself is no page.
        reasons = sorted(line["reason"] for line in lines if line["reason"] != "address")
        assert reasons == sorted(3 * ["media_type", "no_content", "status", "status"]), lines
    server.shutdown()
    print(f"{len(pages)} pages of 3 archives are those of warcio, and {len(texts)} texts those of the site")


main()
