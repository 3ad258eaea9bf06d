#!/usr/bin/env python3
"""Disturbs runs of two pipelines at random and checks what is promised about them.

Each round starts `pipe run` on one of two manifests, `tiny.yaml` or a manifest of commands, and disturbs it: kill -9 of
the engine, of its process group or of a worker, SIGSTOP and SIGCONT, SIGTERM, SIGINT, SIGHUP, a reader that goes away,
a second run at the same time, garbage collection while it runs, a disk that fills up, flipped bytes in stored objects.

After each round:
- no process of the round is left;
- the disturbed run ended by its signal, or with an exit code that says what happened.

After every few rounds, and at the end:
- an undisturbed run ends with 0, and its lock file has the outputs of the reference run, digest for digest;
- `pipe cache verify` finds no damage;
- the secret that the commands use is in no file of the project or the cache, and in nothing that a run printed.

The last line counts rounds, kills and checks; the exit code is 1 if any promise was broken.
"""

import argparse
import base64
import ctypes
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse
from pathlib import Path

COMMANDS = r"""pipeline: soak
stages:
  numbers:
    uses: command
    with:
      run: |
        for part in 1 2 3 4 5 6; do
          seq $part 7 6000 > $PIPE_OUTPUT_parts/$part.txt
          echo "{\"event\": \"progress\", \"unit\": \"parts\", \"done\": $part, \"total\": 6}" >> $PIPE_EVENTS
        done
        cp in/words.txt $PIPE_OUTPUT_parts/words.txt
      outputs: { parts: files }
  sorted:
    uses: command
    needs: { part: numbers }
    with:
      run: 'sleep 0.05; sort -r $PIPE_INPUT_part/shard* > $PIPE_OUTPUT_part/shard.txt'
      each: part
      outputs: { part: files }
  counted:
    uses: command
    needs: { parts: sorted }
    with:
      run: |
        # Goes on from what an interrupted try has counted.
        for file in $PIPE_INPUT_parts/*; do
          name=$(basename $file)
          [ -e $PIPE_DURABLE/$name ] || { sleep 0.05; wc -l < $file > $PIPE_DURABLE/half; mv $PIPE_DURABLE/half $PIPE_DURABLE/$name; }
        done
        cat $PIPE_DURABLE/*.txt > $PIPE_OUTPUT_counts/counts.txt
      outputs: { counts: files }
    grace: 5s
  saved:
    uses: command
    needs: { parts: sorted }
    with:
      run: |
        # Ends well when it is asked to stop: the half of its work must not count.
        trap 'echo half > $PIPE_OUTPUT_sum/sum.txt; exit 0' TERM
        echo whole > $PIPE_OUTPUT_sum/sum.txt
        for i in 1 2 3 4 5; do sleep 0.06; done
        cat $PIPE_INPUT_parts/* | cksum >> $PIPE_OUTPUT_sum/sum.txt
      outputs: { sum: files }
    grace: 5s
  secret:
    uses: command
    needs: { counts: counted }
    with:
      run: |
        token=${secret.SOAK_TOKEN}
        echo "the token is $token"
        printf '%s' "$token" | base64
        echo "{\"event\": \"note\", \"message\": \"token $token\"}" >> $PIPE_EVENTS
        sleep 0.05
        cat $PIPE_INPUT_counts/counts.txt > $PIPE_OUTPUT_report/report.txt
      outputs: { report: files }
    retry: 1
  report:
    uses: command
    needs: { all: { sum: saved, report: secret } }
    with:
      run: 'cat $PIPE_INPUT_all/sum/* $PIPE_INPUT_all/report/* > $PIPE_OUTPUT_report/all.txt'
      outputs: { report: files }
"""

# How long a process of a round may outlive it, in seconds.
ORPHAN_PATIENCE = 90
# Longest time that an undisturbed run may take, in seconds, before it counts as hung.
RUN_PATIENCE = 600


class Soak:
    def __init__(self, options):
        self.options = options
        self.random = random.Random(options.seed)
        self.pipe = os.path.realpath(options.pipe)
        self.folder = Path(tempfile.mkdtemp(prefix="pipe-soak-"))
        self.marker = f"PIPE_SOAK={self.folder.name}"
        self.secret = f"s0ak-{self.random.getrandbits(64):016x}/+&"
        self.rounds = self.kills = self.checks = 0
        self.failures = []
        self.printed = []
        self.projects = [self.commands(), self.tiny()] if not options.only_commands else [self.commands()]

    # Projects

    def commands(self):
        root = self.folder / "commands"
        (root / "in").mkdir(parents=True)
        (root / ".pipe").mkdir()
        (root / "in" / "words.txt").write_text("one\ntwo\nthree\n")
        (root / "pipeline.yaml").write_text(COMMANDS)
        return Project(root, "pipeline.yaml", 2.0)

    def tiny(self):
        root = self.folder / "tiny"
        root.mkdir()
        (root / ".pipe").mkdir()
        pipelines = Path(__file__).resolve().parent.parent / "pipelines"
        for name in ("tiny.yaml", "gpt-small.yaml"):
            shutil.copy(pipelines / name, root)
        return Project(root, "tiny.yaml", 4.0)

    # Calls

    def environment(self):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PIPE_")}
        environment.update(NO_COLOR="1", SOAK_TOKEN=self.secret, PIPE_SOAK=self.folder.name)
        if "RUST_DOCS" not in environment and shutil.which("rustc"):
            # Resolved by the toolchain file of the repository.
            here = Path(__file__).resolve().parent
            sysroot = subprocess.run(["rustc", "--print", "sysroot"], cwd=here, capture_output=True, text=True)
            environment["RUST_DOCS"] = f"{sysroot.stdout.strip()}/share/doc/rust/html"
        return environment

    def start(self, project, *words):
        log = open(project.root.parent / f"{project.root.name}-{self.rounds}-{time.monotonic_ns()}.printed", "wb")
        self.printed.append(log.name)
        process = subprocess.Popen(
            [self.pipe, *words],
            cwd=project.root,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=self.environment(),
            start_new_session=True,
        )
        log.close()
        return process

    def call(self, project, *words, patience=RUN_PATIENCE):
        """Runs the program undisturbed; returns its exit code and what it printed."""
        process = self.start(project, *words)
        name = self.printed[-1]
        try:
            code = process.wait(patience)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            self.fail(f"`pipe {' '.join(words)}` was not done after {patience} s")
            code = None
        return code, Path(name).read_text(errors="replace")

    # Processes

    def processes(self):
        """Processes that carry this soak's mark in their environment."""
        marked = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                if self.marker.encode() in (entry / "environ").read_bytes().split(b"\0"):
                    marked.append(int(entry.name))
                    continue
                # A command's environment is its own: it is known by its folder.
                if os.readlink(entry / "cwd").startswith(str(self.folder)):
                    marked.append(int(entry.name))
            except OSError:
                pass
        return marked

    def no_process_is_left(self, what):
        until = time.monotonic() + ORPHAN_PATIENCE
        while left := self.processes():
            if time.monotonic() > until:
                names = [open(f"/proc/{pid}/cmdline", "rb").read().replace(b"\0", b" ") for pid in left if os.path.exists(f"/proc/{pid}")]
                self.fail(f"after {what}, processes are left: {names}")
                for pid in left:
                    kill(pid, signal.SIGKILL)
                return
            time.sleep(0.05)

    # Disturbances

    def round(self):
        self.rounds += 1
        project = self.random.choice(self.projects)
        ways = [
            self.kill_engine, self.kill_group, self.kill_any, self.kill_all, self.stop_and_continue,
            self.end_by_signal, self.reader_goes_away, self.two_runs, self.collect_garbage, self.flip_bytes,
        ]
        weights = [3, 3, 3, 2, 2, 3, 1, 1, 1, 1]
        if os.geteuid() == 0 and not self.options.no_full_disk:
            ways.append(self.full_disk)
            weights.append(1)
        way = self.random.choices(ways, weights)[0]
        what = f"{way.__name__.replace('_', ' ')} ({project.manifest}, round {self.rounds})"
        if self.options.verbose:
            print(what, flush=True)
        if self.random.random() < 0.7:
            project.change(self.random)
        way(project)
        self.no_process_is_left(what)
        if self.rounds % 8 == 0:
            for each in self.projects:
                self.settle(each, what)

    def disturbed(self, project, act):
        process = self.start(project, "run", project.manifest)
        time.sleep(self.random.uniform(0, project.seconds))
        if process.poll() is None:
            act(process)
        try:
            return process.wait(RUN_PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            self.fail(f"a disturbed run of {project.manifest} hung")

    def kill_engine(self, project):
        self.kills += 1
        self.disturbed(project, lambda process: kill(process.pid, signal.SIGKILL))

    def kill_group(self, project):
        self.kills += 1
        self.disturbed(project, lambda process: os.killpg(process.pid, signal.SIGKILL))

    def kill_any(self, project):
        """Kills a worker, a command or the engine; the run may fail, or try again."""
        def act(_):
            if pids := self.processes():
                self.kills += 1
                kill(self.random.choice(pids), signal.SIGKILL)
        self.disturbed(project, act)

    def kill_all(self, project):
        self.kills += 1

        def act(process):
            os.killpg(process.pid, signal.SIGKILL)
            for _ in range(3):
                for pid in self.processes():
                    kill(pid, signal.SIGKILL)
        self.disturbed(project, act)

    def stop_and_continue(self, project):
        def act(_):
            stopped = self.random.sample(pids, min(2, len(pids))) if (pids := self.processes()) else []
            for pid in stopped:
                kill(pid, signal.SIGSTOP)
            time.sleep(self.random.uniform(0, 1.5))
            for pid in stopped:
                kill(pid, signal.SIGCONT)
        code = self.disturbed(project, act)
        if code != 0:
            self.fail(f"a run that was stopped and continued ended with {code}: {self.last_printed()}")

    def end_by_signal(self, project):
        by = self.random.choice([signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
        code = self.disturbed(project, lambda process: kill(process.pid, by))
        # A signal that comes before the program has installed its handlers ends it.
        if code not in (0, 130, -by):
            self.fail(f"a run that got {by.name} ended with {code}: {self.last_printed()}")

    def reader_goes_away(self, project):
        process = subprocess.Popen(
            [self.pipe, "run", project.manifest, "--json"], cwd=project.root, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=self.environment(), start_new_session=True,
        )
        process.stdout.read(self.random.randrange(1, 4096))
        process.stdout.close()
        code = process.wait(RUN_PATIENCE)
        if code != 0:
            self.fail(f"a run whose reader went away ended with {code}")

    def two_runs(self, project):
        other = self.start(project, "run", project.manifest)
        first = self.disturbed(project, lambda process: None)
        second = other.wait(RUN_PATIENCE)
        if (first, second) != (0, 0):
            self.fail(f"two runs at once ended with {first} and {second}: {self.last_printed()}")

    def collect_garbage(self, project):
        size = self.random.choice(["1B", "100KB", "10MB"])
        def act(_):
            self.call(project, "cache", "gc", "--max-size", size, "--recent", "0s", "--young", "0s")
        code = self.disturbed(project, act)
        if code not in (0,):
            self.fail(f"a run beside `cache gc` ended with {code}: {self.last_printed()}")

    def flip_bytes(self, project):
        """Flips a byte in a few objects; what is damaged has to be found and made again."""
        objects = [path for path in (project.root / ".pipe" / "objects").rglob("*") if path.is_file()]
        for path in self.random.sample(objects, min(3, len(objects))):
            content = bytearray(path.read_bytes())
            if not content:
                continue
            stamp = path.stat()
            content[self.random.randrange(len(content))] ^= 1 << self.random.randrange(8)
            path.chmod(0o644)
            path.write_bytes(content)
            path.chmod(0o444)
            os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
        self.call(project, "cache", "verify", "--repair")
        self.call(project, "run", project.manifest)

    def full_disk(self, project):
        """Runs with a cache on a disk of its own that is too small; what it made must be right, or named."""
        disk = self.folder / "disk"
        disk.mkdir(exist_ok=True)
        size = self.random.choice([1, 2, 3, 4, 6, 8])
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}m", "tmpfs", disk], capture_output=True)
        if mounted.returncode:
            return
        try:
            lock = project.lock()
            code, printed = self.call(project, "run", project.manifest, "--cache", str(disk / "cache"))
            if code not in (0, 1) or (code == 1 and not ("space" in printed or "full" in printed)):
                self.fail(f"on a disk of {size} MiB, the run ended with {code}: {printed[-800:]}")
            if code == 1 and project.lock() != lock:
                self.fail("a run that failed on a full disk changed the lock file")
            subprocess.run(["mount", "-o", "remount,size=1g", disk], check=True)
            code, printed = self.call(project, "run", project.manifest, "--cache", str(disk / "cache"))
            if code != 0:
                self.fail(f"after space was made, the run ended with {code}: {printed[-800:]}")
            self.secret_is_nowhere(disk)
        finally:
            subprocess.run(["umount", "-l", disk], capture_output=True)

    # Checks

    def settle(self, project, what):
        """An undisturbed run: the reference's outputs, a clean cache, no secret."""
        self.checks += 1
        project.restore()
        code, printed = self.call(project, "run", project.manifest)
        if code != 0:
            self.fail(f"after {what}, an undisturbed run ended with {code}: {printed[-800:]}")
        elif project.reference is None:
            project.reference = project.outputs()
        elif project.outputs() != project.reference:
            self.fail(f"after {what}, an undisturbed run has other outputs than the reference")
        code, printed = self.call(project, "cache", "verify")
        if code != 0:
            self.fail(f"after {what}, the cache is damaged: {printed[-800:]}")
        if left := list((project.root / ".pipe" / "work" / "tmp").glob("*")):
            self.fail(f"after {what}, temporary files are left: {left[:3]}")
        self.secret_is_nowhere(project.root)

    def secret_is_nowhere(self, folder):
        forms = {self.secret, base64.b64encode(self.secret.encode()).decode(), urllib.parse.quote(self.secret, safe="")}
        forms = [form.encode() for form in forms]
        for path in [*folder.rglob("*"), *map(Path, self.printed)]:
            try:
                if path.is_file() and not path.is_symlink():
                    content = path.read_bytes()
                    if any(form in content for form in forms):
                        self.fail(f"the secret is in {path}")
            except OSError:
                pass
        for name in self.printed:
            os.unlink(name)
        self.printed.clear()

    def last_printed(self):
        return Path(self.printed[-1]).read_text(errors="replace")[-800:] if self.printed else ""

    def fail(self, message):
        self.failures.append(message)
        print(f"FAILED: {message}", flush=True)

    def run(self):
        adopt_orphans()
        until = time.monotonic() + self.options.minutes * 60
        for project in self.projects:
            self.settle(project, "the reference run")
            if project.reference is None:
                return self.end()
        while time.monotonic() < until or self.kills < self.options.kills:
            self.round()
            reap()
            if len(self.failures) >= 20:
                print("too many failures: giving up", flush=True)
                break
        for project in self.projects:
            self.settle(project, "the last round")
        return self.end()

    def end(self):
        self.no_process_is_left("the last round")
        if self.failures:
            print(f"kept for a look: {self.folder}")
        else:
            shutil.rmtree(self.folder, ignore_errors=True)
        print(
            f"seed {self.options.seed}: {self.rounds} rounds, {self.kills} kills with SIGKILL, {self.checks} checks, "
            f"{len(self.failures)} broken promises"
        )
        return 1 if self.failures else 0


class Project:
    """A folder with a manifest, its cache and its lock file."""

    def __init__(self, root, manifest, seconds):
        self.root, self.manifest, self.seconds = root, manifest, seconds
        self.reference = None
        self.original = (root / manifest).read_text()

    def change(self, rng):
        """Changes what a stage reads or does, so that a round has something to do."""
        changed = self.original
        if "sleep 0.05; sort" in changed:
            changed = changed.replace("seq $part 7 6000", f"seq $part 7 {6000 + rng.randrange(4)}")
        else:
            seed = rng.randrange(1, 5)
            changed = changed.replace("steps: 60", f"steps: {60 + seed}").replace("validation: 0.1", f"validation: 0.{seed}")
        (self.root / self.manifest).write_text(changed)

    def restore(self):
        (self.root / self.manifest).write_text(self.original)

    def lock_path(self):
        return (self.root / self.manifest).with_suffix(".lock")

    def lock(self):
        return self.lock_path().read_bytes() if self.lock_path().exists() else None

    def outputs(self):
        stages = json.loads(self.lock())["stages"]
        return {name: stage["outputs"] for name, stage in stages.items()}


def kill(pid, by):
    try:
        os.kill(pid, by)
    except ProcessLookupError:
        pass


def adopt_orphans():
    """Makes this process the parent of what its children leave behind, so that they can be seen to end."""
    PR_SET_CHILD_SUBREAPER = 36
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap():
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pipe", nargs="?", default="target/release/pipe", help="the built program")
    parser.add_argument("--minutes", type=float, default=1, help="how long to go on")
    parser.add_argument("--kills", type=int, default=0, help="go on until this many processes were killed with SIGKILL")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the random choices")
    parser.add_argument("--only-commands", action="store_true", help="leave `tiny.yaml` out")
    parser.add_argument("--no-full-disk", action="store_true", help="mount nothing, though run by root")
    parser.add_argument("--verbose", action="store_true", help="print each round")
    sys.exit(Soak(parser.parse_args()).run())


if __name__ == "__main__":
    main()
