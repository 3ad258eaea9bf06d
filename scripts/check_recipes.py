"""The recipes of pipelines/fineweb.yaml and pipelines/chinese.yaml on small crawls, page by page.

    python3 scripts/check_recipes.py PIPE [en|zh]

scripts/make_crawl.py makes a crawl of four archives and says what must become of each page. A run over HTTP must keep and drop
just these, by the rule that is meant; mask what is to be masked; list what is no page. Run again, nothing must run or change.
With a fifth archive in the list, each step must do the tasks of this archive only, where it works by shards.
"""

import collections
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import make_crawl

PIPE = os.path.realpath(sys.argv[1])
PIPELINES = pathlib.Path(__file__).resolve().parent.parent / "pipelines"
RECIPES = {"en": "fineweb", "zh": "chinese"}
# Settings of a recipe for a crawl of this size.
SMALL = {"en": {"vocabulary_size": 2000}, "zh": {"vocabulary_size": 2000, "pieces_max_mib": 16}}
ARCHIVES = 4
PAGES = 200
# Steps that work by shards: the tasks that a further archive costs are its own.
BY_SHARD = [
    ("pages", "shards_by_file"),
    ("text", "texts"),
    ("text", "scores"),
    ("text", "kept"),
    ("unique", "signed"),
    ("unique", "survivors"),
    ("tokens", "train"),
]


class Project:
    """A project with a recipe, made smaller by a manifest that extends it."""

    def __init__(self, folder, language):
        self.folder, self.language = pathlib.Path(folder), language
        recipe = f"{RECIPES[language]}.yaml"
        self.folder.joinpath(".pipe").mkdir()
        shutil.copy(PIPELINES / recipe, self.folder / recipe)
        self.made = make_crawl.make(folder, language, ARCHIVES, PAGES)
        self.server = make_crawl.serve(folder)
        lists = {"domains": ["block-lists/domains"], "urls": ["block-lists/urls"]}
        base = f"http://127.0.0.1:{self.server.server_port}"
        own = {"crawl": make_crawl.CRAWL, "base": base, "sample": 1, "block_lists": lists, "errors_max": 1}
        self.manifest = {"pipeline": "small", "extends": recipe, "vars": own | SMALL[language], "stages": {}}
        self.write()

    def write(self):
        (self.folder / "small.yaml").write_text(json.dumps(self.manifest))

    def pipe(self, *words, code=0):
        environment = {**os.environ, "NO_COLOR": "1", "NO_PROXY": "127.0.0.1", "PIPE_CACHE": str(self.folder / ".pipe")}
        ended = subprocess.run([PIPE, *words], cwd=self.folder, env=environment, capture_output=True, text=True)
        assert ended.returncode == code, f"{words}: exit code {ended.returncode}\n{ended.stdout[-4000:]}\n{ended.stderr[-4000:]}"
        return ended.stdout

    def run(self, *options):
        """Runs all; gives the outcomes of the stages, and how many tasks of how many each step did."""
        lines = [json.loads(line) for line in self.pipe("run", "small.yaml", "--json", *options).splitlines()]
        tasks = collections.defaultdict(lambda: [0, 0])
        for line in lines:
            run = line.get("run", {})
            told = run.get("told") or {}
            if told.get("event") == "step":
                count = tasks[run["stage"], told["step"]]
                count[0] += told["missing"]
                count[1] += told["tasks"]
        return {row["stage"]: row["outcome"] for row in lines[-1]["summary"]}, tasks

    def documents(self, stage, *options):
        out = self.pipe("data", "sample", "small.yaml", stage, "-n", "10000", "--json", *options)
        return [json.loads(line) for line in out.splitlines()]

    def metrics(self, stage):
        record = json.loads(self.pipe("show", "small.yaml", stage, "--json"))["record"]
        return {metric["name"]: metric["value"] for metric in record["metrics"]}

    def listing(self):
        """All files of the project, with their sizes and times."""
        paths = [path for path in self.folder.rglob("*") if path.is_file()]
        return sorted((str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths)

    def check_pages(self):
        """What became of each page is what is expected."""
        kept = {row["url"]: row for row in self.documents("unique")}
        dropped = {row["url"]: row["reason"]["rule"] for row in self.documents("text", "--dropped-by", "any")}
        removed = {row["url"]: row["reason"]["reason"] for row in self.documents("unique", "--dropped-by", "any")}
        pages = self.made["pages"]
        copied = {page["group"]: url for url, page in pages.items() if "group" in page}
        wrong = []
        for url, page in pages.items():
            fate = "kept" if url in kept else dropped.get(url) or removed.get(url) or "lost"
            expected = {page["fate"]}
            if url in copied or "group" in page:
                # Of two pages with the same text, one is kept.
                other = copied.get(url) or page["group"]
                expected = {"kept", "exact"} if (url in kept) != (other in kept) else {"one of two"}
            if fate not in expected:
                wrong.append((url, fate, sorted(expected)))
            if url in kept:
                text = kept[url]["text"]
                wrong += [(url, "has", part) for part in page.get("lacks", []) if part in text]
                wrong += [(url, "lacks", part) for part in page.get("has", []) if part not in text]
        assert not wrong, "\n".join(map(str, [len(wrong), *wrong[:40]]))
        assert len(kept) + len(dropped) + len(removed) == len(pages), (len(kept), len(dropped), len(removed), len(pages))

        # All of the archives is accounted for: pages, and what is none, with the reason.
        rejected = collections.Counter(row["reason"]["reason"] for row in self.documents("pages", "--dropped-by", "any"))
        assert rejected == self.made["rejected"], rejected
        masked = collections.Counter()
        for page in pages.values():
            masked.update(page.get("masked", {}))
        metrics = self.metrics("text")
        figures = {name.removeprefix("pii."): value for name, value in metrics.items() if name.startswith("pii.")}
        assert {kind: count for kind, count in figures.items() if count} == masked and masked, (figures, masked)
        rules = collections.Counter(dropped.values())
        assert rules == {name.removeprefix("dropped."): count for name, count in metrics.items() if name.startswith("dropped.") and count}
        return kept, dropped, removed


def check(language):
    with tempfile.TemporaryDirectory() as folder:
        project = Project(folder, language)
        outcomes, _ = project.run()
        assert set(outcomes.values()) == {"ran"}, outcomes
        kept, dropped, removed = project.check_pages()
        tokens = int(project.metrics("tokens")["tokens"])
        characters = sum(row["characters"] for row in kept.values())
        assert characters / 8 < tokens < characters, (tokens, characters)
        if "fit" in outcomes:
            fit = project.metrics("fit")
            assert fit["tokens"] == tokens and 0.2 < fit["tokens_per_character"] < 1, fit
        totals = json.loads(project.pipe("data", "stats", "small.yaml", "unique", "--json"))["total"]
        assert (totals["documents"], totals["characters"]) == (len(kept), characters), totals

        project.pipe("plan", "small.yaml", "--detailed-exitcode")
        before = project.listing()
        outcomes, _ = project.run()
        assert set(outcomes.values()) == {"cached"}, outcomes
        assert project.listing() == before, "a run with nothing to do changed files"

        # One more archive in the list, and the tokenizer as it is.
        project.made = make_crawl.make(folder, language, ARCHIVES + 1, PAGES)
        project.manifest["stages"]["vocabulary"] = {"freeze": True}
        project.write()
        project.pipe("plan", "small.yaml", "--detailed-exitcode")
        outcomes, tasks = project.run("--update-pins")
        assert outcomes["vocabulary"] != "ran" and outcomes["tokens"] == "ran", outcomes
        done = {step: tuple(tasks.get(step, (0, 0))) for step in BY_SHARD}
        # Small archives may share a shard.
        assert all(new == 1 and of >= ARCHIVES for new, of in done.values()), (done, dict(tasks))
        more, *_ = project.check_pages()
        assert len(more) > len(kept)
        project.server.shutdown()
    share = sum(new for new, _ in done.values()) / sum(of for _, of in done.values())
    print(
        f"{RECIPES[language]}: of {len(kept) + len(dropped) + len(removed)} pages {len(kept)} kept ({tokens} tokens), {len(dropped)} dropped by "
        f"{len(set(dropped.values()))} rules, {len(removed)} copies; one more archive: {share:.0%} of the tasks by shard"
    )


for language in sys.argv[2:] or RECIPES:
    check(language)
