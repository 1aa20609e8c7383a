"""Runs in forked child processes, which may be killed at any event, and what they leave.

An event is a forward of a module, a step of an optimizer, or that a file is opened, renamed, linked
or removed: the same events in the same order for the same command, so that a kill can be repeated.
"""

import contextlib
import itertools
import json
import multiprocessing
import os
import signal
import sys
import traceback
from pathlib import Path

FILES = ("open", "os.rename", "os.link", "os.remove", "os.mkdir")
APART = ("seconds", "peak_mb", "provenance", "checksum", "files")
_FORK = multiprocessing.get_context("fork")  # a new interpreter would import torch for seconds


class Run:
    """A command on the folder ``out``, in processes of its own; ``logs`` is for what they say."""

    def __init__(self, out, *words, logs=None):
        self.out, self.words = out, [*map(str, words), "--out", str(out)]
        self.logs, self.said = logs or out.parent, ""

    def command(self, kill_at=None, prepare=lambda: None):
        """Run in a child until it ends or event ``kill_at``; return its exit code and events.

        The events are "file" or "compute"; a child that was killed gives those before. What the
        child printed is in ``said``. ``prepare`` is called in the child first.
        """
        log, text = (self.logs / f"{self.out.name}.{end}" for end in ("events", "txt"))
        child = _FORK.Process(target=self._child, args=(kill_at, prepare, log, text))
        child.start()
        child.join(300)
        assert child.exitcode is not None
        self.said = text.read_text(encoding="utf-8")
        kinds = {b"f": "file", b"c": "compute"}
        return child.exitcode, [kinds[bytes([b])] for b in log.read_bytes()]

    def _child(self, kill_at, prepare, log, text):
        from torch.nn.modules.module import register_module_forward_pre_hook
        from torch.optim.optimizer import register_optimizer_step_pre_hook

        from mpqbench.cli.main import main
        from mpqbench.report import write

        write.save_all = lambda *_: []  # no figures
        out = os.open(text, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        os.dup2(out, 1), os.dup2(out, 2)
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        prepare()
        numbers = itertools.count()
        events = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)

        def count(kind):
            if next(numbers) == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            os.write(events, kind)

        def audit(event, arguments):
            if event in FILES and str(self.out) in str(arguments[0]):
                count(b"f")

        sys.addaudithook(audit)
        register_module_forward_pre_hook(lambda *_: count(b"c"))
        register_optimizer_step_pre_hook(lambda *_: count(b"c"))
        sys.argv, code = ["mpqbench", *self.words], 1
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        except BaseException:
            traceback.print_exc()
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)

    def records(self):
        """What the records say but for times, places and digests of traces, which tell times."""
        read = [json.loads(p.read_text("utf-8")) for p in sorted(self.out.glob("records/*.json"))]
        return {r["job"]: {k: v for k, v in r.items() if k not in APART} for r in read}

    def bytes(self, *patterns):
        """The content of files by name."""
        found = (path for pattern in patterns for path in self.out.glob(pattern))
        return {str(path.relative_to(self.out)): path.read_bytes() for path in sorted(found)}

    def identities(self, *patterns):
        """What changes when a file is written again: inode and time, by name."""
        found = (path for pattern in patterns for path in self.out.glob(pattern))
        states = {path: path.stat() for path in found}
        return {str(p.relative_to(self.out)): (s.st_ino, s.st_mtime_ns) for p, s in states.items()}

    @property
    def errors(self):
        """How many lines of the child were errors."""
        return sum(line.startswith("error: ") for line in self.said.splitlines())

    def unfinished(self):
        """Temporary files that killed writes left."""
        return list(Path(self.out).rglob(".*.tmp"))
