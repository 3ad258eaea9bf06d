"""Sources on servers against stock software: objects of moto's S3, and a small hub that `datasets` reads as well.

    python3 scripts/check_remote.py PIPE

Needs moto[server], boto3, pyarrow, huggingface_hub and datasets for Python. `ingest` must give the same documents from a bucket
as from the folder with the same files, and from the hub the rows that `datasets` gives for each split; `plan` must need no server
afterwards; an object that is replaced must be an error until the pins are updated; and no credential may be stored.
"""

import contextlib
import gzip
import hashlib
import http.server
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

import boto3
import pyarrow
import pyarrow.parquet

PIPE = os.path.realpath(sys.argv[1])
SECRET = "verysecretkey0123456789"
TOKEN = "hf_verysecrettoken"
COMMIT = "c" * 40


def rows(start, count):
    return [{"text": f"Row {number} tells of a harbour and its light."} for number in range(start, start + count)]


def jsonl(some):
    return "".join(json.dumps(row) + "\n" for row in some).encode()


def parquet(some):
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(some), sink)
    return sink.getvalue().to_pybytes()


def free_port():
    with contextlib.closing(socket.socket()) as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def pipe(folder, *words, code=0, **variables):
    environment = {**os.environ, "NO_COLOR": "1", "NO_PROXY": "127.0.0.1,localhost", **variables}
    told = subprocess.run([PIPE, *words], cwd=folder, env=environment, capture_output=True, text=True)
    assert told.returncode == code, f"{words}: {told.returncode}\n{told.stdout}\n{told.stderr}"
    return told


def manifest(folder, source):
    stage = {"uses": "ingest", "with": {"sources": [source]}}
    (folder / "pipeline.yaml").write_text(json.dumps({"pipeline": "p", "stages": {"pages": stage}}))


def texts(folder, **variables):
    out = pathlib.Path(tempfile.mkdtemp(dir=folder)) / "documents"
    pipe(folder, "get", "pipeline.yaml", "pages", str(out), **variables)
    tables = [pyarrow.parquet.read_table(path) for path in sorted(out.rglob("*.parquet"))]
    return sorted(row["text"] for table in tables for row in table.to_pylist())


def has_nowhere(folder, secret):
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            assert secret.encode() not in path.read_bytes(), f"{path} has a credential"


FILES = {
    "texts/a.jsonl.gz": gzip.compress(jsonl(rows(0, 500))),
    "texts/deep/b c.jsonl": jsonl(rows(500, 20)),
    "texts/deep/er/d.jsonl": jsonl(rows(520, 20)),
    "texts/other.csv": b"text\nnone\n",
    "elsewhere/e.jsonl": jsonl(rows(900, 5)),
}


def check_s3():
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(300):
            with contextlib.suppress(OSError), contextlib.closing(socket.create_connection(("127.0.0.1", port))):
                break
            time.sleep(0.1)
        access = {"AWS_ACCESS_KEY_ID": "someone", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "us-east-1"}
        client = boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id="someone",
            aws_secret_access_key=SECRET,
        )
        client.create_bucket(Bucket="lights")
        for name, body in FILES.items():
            client.put_object(Bucket="lights", Key=name, Body=body)
        table = parquet(rows(2000, 300))
        client.put_object(Bucket="lights", Key="tables/t.parquet", Body=table)
        variables = {**access, "AWS_ENDPOINT_URL": endpoint}
        with tempfile.TemporaryDirectory() as temporary:
            folder = pathlib.Path(temporary)
            manifest(folder, {"glob": "s3://lights/texts/**/*.jsonl{,.gz}", "name": "lights"})
            pipe(folder, "run", "pipeline.yaml", **variables)
            remote = texts(folder, **variables)
            for name, body in FILES.items():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(body)
            pinned = json.loads((folder / "pipeline.lock").read_text())["pins"]
            assert list(pinned) == ["s3://lights/texts/**/*.jsonl{,.gz}"], pinned

            # Nothing is asked of the server, which nobody reaches.
            nowhere = {**access, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
            told = pipe(folder, "plan", "pipeline.yaml", "--detailed-exitcode", **nowhere)
            assert "cached" in told.stdout, told.stdout

            # A replaced object: an error, then what an update would do, then the update.
            client.put_object(Bucket="lights", Key="texts/deep/er/d.jsonl", Body=jsonl(rows(700, 30)))
            told = pipe(folder, "run", "pipeline.yaml", "--force", "pages", code=1, **variables)
            assert "--update-pins" in told.stderr + told.stdout, told.stderr
            told = pipe(folder, "plan", "pipeline.yaml", "--update-pins", **variables)
            assert "1 changed of 3 files" in told.stdout, told.stdout
            pipe(folder, "run", "pipeline.yaml", "--update-pins", **variables)
            assert len(texts(folder, **variables)) == 550
            has_nowhere(folder, SECRET)

            manifest(folder, {"glob": "texts/**/*.jsonl{,.gz}", "name": "lights"})
            pipe(folder, "run", "pipeline.yaml")
            assert texts(folder) == remote and len(remote) == 540

            manifest(folder, {"glob": "s3://lights/tables/t.parquet"})
            pipe(folder, "run", "pipeline.yaml", **variables)
            assert len(texts(folder, **variables)) == 300
            manifest(folder, {"paths": {"list": "list", "base": "s3://lights/elsewhere"}, "format": "jsonl"})
            (folder / "list").write_text("e.jsonl\n")
            pipe(folder, "run", "pipeline.yaml", **variables)
            assert len(texts(folder, **variables)) == 5

            manifest(folder, {"glob": "s3://nobody/x.jsonl"})
            told = pipe(folder, "plan", "pipeline.yaml", code=2, **variables)
            assert "s3://nobody/x.jsonl" in told.stderr, told.stderr
        print("s3: same documents as from the folder, offline plan, pins")
    finally:
        server.terminate()
        server.wait()


CARD = """---
license: odc-by
configs:
- config_name: en
  data_files:
  - split: train
    path: en/train-*.jsonl.gz
  - split: validation
    path: en/valid.jsonl
- config_name: de
  data_dir: de
---
# Lights
"""
LIGHTS = {
    "README.md": CARD.encode(),
    "en/train-0.jsonl.gz": gzip.compress(jsonl(rows(0, 200))),
    "en/train-1.jsonl.gz": gzip.compress(jsonl(rows(200, 200))),
    "en/valid.jsonl": jsonl(rows(1000, 30)),
    "de/my-train.jsonl": jsonl(rows(5000, 25)),
    "de/dev/more.jsonl": jsonl(rows(6000, 15)),
}
TABLES = {
    "README.md": b"# Tables\n",
    "data/train-00000-of-00002.parquet": parquet(rows(3000, 90)),
    "data/train-00001-of-00002.parquet": parquet(rows(3090, 90)),
    "data/test-00000-of-00001.parquet": parquet(rows(4000, 10)),
    "notes.csv": b"a,b\n1,2\n",
}
HUB = {"o/lights": LIGHTS, "o/tables": TABLES}
# What is read with both; configuration and split are as `datasets` names them.
SPLITS = [
    ("o/lights", "en", "train"),
    ("o/lights", "en", "validation"),
    ("o/lights", "de", "validation"),
    ("o/tables", "default", "train"),
    ("o/tables", "default", "test"),
]


def node(files, path):
    body = files[path]
    oid = hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()
    found = {"type": "file", "path": path, "size": len(body), "oid": oid}
    if is_large(path):
        digest = hashlib.sha256(body).hexdigest()
        found["lfs"] = {"oid": digest, "size": len(body), "pointerSize": 130}
    return found


def is_large(path):
    return path.endswith((".gz", ".parquet"))


def folder(path):
    return {"type": "directory", "path": path, "size": 0, "oid": "0" * 40}


class Hub(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def send(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def json(self, value):
        self.send(200, json.dumps(value).encode(), Content_Type="application/json")

    def do_HEAD(self):
        self.do_GET()

    def files(self, path, before, after):
        """The files of the data set that a path names, and what is behind `after` in it."""
        repo, _, rest = path.removeprefix(before).partition(after)
        return (HUB[repo], rest) if path.startswith(before) and after in path and repo in HUB else (None, "")

    def do_POST(self):
        length = int(self.headers.get("Content-Length", 0))
        sent = self.rfile.read(length)
        # Which of these paths there are: a form or JSON.
        files, _ = self.files(self.path, "/api/datasets/", f"/paths-info/{COMMIT}")
        if not files:
            return self.send(404)
        try:
            asked = json.loads(sent)["paths"]
        except ValueError:
            asked = urllib.parse.parse_qs(sent.decode())["paths"]
        folders = {str(parent) for path in files for parent in pathlib.PurePosixPath(path).parents} - {"."}
        found = [node(files, path) for path in asked if path in files]
        self.json(found + [folder(path) for path in asked if path in folders])

    def do_GET(self):
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        files, below = self.files(path, "/api/datasets/", f"/tree/{COMMIT}")
        if files:
            return self.tree(files, below.strip("/"))
        files, name = self.files(path, "/datasets/", f"/resolve/{COMMIT}/")
        if files and name in files:
            return self.resolve(path, files, name)
        files, name = self.files(path, "/store/datasets/", f"/resolve/{COMMIT}/")
        if files:
            return self.body(files[name], {"ETag": f'"{node(files, name)["lfs"]["oid"]}"'})
        repo, _, revision = path.removeprefix("/api/datasets/").partition("/revision/")
        if repo in HUB and revision in ("", "main", COMMIT):
            about = {"id": repo, "sha": COMMIT, "private": False, "gated": False, "disabled": False, "downloads": 0}
            return self.json({**about, "likes": 0, "tags": [], "siblings": [{"rfilename": name} for name in HUB[repo]]})
        return self.send(404, X_Error_Code="EntryNotFound")

    def tree(self, files, below):
        below = f"{below}/" if below else ""
        is_recursive = "recursive=true" in self.path.lower()
        inner = [name[len(below) :] for name in files if name.startswith(below)]
        found = [node(files, below + name) for name in inner if is_recursive or "/" not in name]
        folders = {name.split("/")[0] for name in inner if "/" in name}
        self.json(found + [folder(below + name) for name in sorted(folders)])

    def resolve(self, path, files, name):
        found = node(files, name)
        headers = {"X_Repo_Commit": COMMIT, "ETag": f'"{found["oid"]}"'}
        if "lfs" not in found:
            return self.body(files[name], headers)
        headers |= {"X_Linked_Etag": f'"{found["lfs"]["oid"]}"', "X_Linked_Size": str(found["size"])}
        # As on the hub, large files are on another host.
        port = self.server.server_address[1]
        return self.send(302, Location=f"http://localhost:{port}/store{path}", **headers)

    def body(self, body, headers):
        sent = self.headers.get("Range", "")
        if sent.startswith("bytes="):
            start, end = sent[len("bytes=") :].split("-")
            end = min(int(end) + 1 if end else len(body), len(body))
            part = body[int(start) : end]
            self.send(206, part, Content_Range=f"bytes {start}-{end - 1}/{len(body)}", **headers)
        else:
            self.send(200, body, **headers)


DATASETS = """
import json, sys
import datasets
for repo, config, split in json.loads(sys.argv[1]):
    rows = datasets.load_dataset(repo, config, split=split)
    print(json.dumps(sorted(row["text"] for row in rows)))
"""


def check_hub():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        variables = {"HF_ENDPOINT": endpoint, "HF_TOKEN": TOKEN}
        stock = {**os.environ, **variables, "HF_HOME": str(folder / "hf"), "NO_PROXY": "127.0.0.1", "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
        told = subprocess.run([sys.executable, "-c", DATASETS, json.dumps(SPLITS)], env=stock, capture_output=True, text=True)
        assert told.returncode == 0, told.stderr
        project = folder / "project"
        project.mkdir()
        for (repo, config, split), line in zip(SPLITS, told.stdout.splitlines(), strict=True):
            manifest(project, {"hf": {"repo": repo, "config": config, "split": split}})
            pipe(project, "run", "pipeline.yaml", **variables)
            assert texts(project, **variables) == json.loads(line), (repo, config, split)
            pipe(project, "plan", "pipeline.yaml", "--detailed-exitcode", HF_ENDPOINT="http://127.0.0.1:9")
        has_nowhere(project, TOKEN)
    server.shutdown()
    print(f"hub: the rows of `datasets` for {len(SPLITS)} splits, offline plans")


check_s3()
check_hub()
