"""Claims: which process runs a job, so that processes on one folder of results share its jobs.

A claim is a file ``claims/JOB.1.json`` that names the host, the process and the fingerprint of the
job. It appears as a whole, by a hard link to a temporary file (by exclusive creation where a file
system has no links): of several processes exactly one makes it, over NFS too, and no file is ever
locked. While the job runs, a thread touches the file every ``BEAT_SECONDS``.

A claim is stale when its process has ended: on the machine of the reader that is seen at once. On
another machine it is stale after the reader has seen no beat for ``STALE_SECONDS`` of its own
monotonic clock; clocks of different machines are never compared. Whoever finds claim N stale takes
over by making ``JOB.N+1.json``, which again exactly one can do; the claim of the highest number
counts, and all are removed when the job has ended. A process that was merely suspended goes on
when it wakes up: the job is then run twice, with the same result.
"""

import json
import os
import re
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from .errors import NotWritable
from .files import digest_of_bytes, made_once, reason_of, write_atomic
from .processes import has_ended, machine, started
from .settings import is_whole, sealed

FOLDER = "claims"
BEAT_SECONDS = 15.0
STALE_SECONDS = 300.0
_CLAIM = re.compile(r"([^.].*)\.[0-9]+\.json")
_DAMAGED = (OSError, ValueError, TypeError, LookupError, AttributeError)


@dataclass(frozen=True)
class Holder:
    """The process that runs a job. ``token`` is another one in every claim."""

    host: str
    pid: int
    since: str
    fingerprint: str = ""
    machine: str = ""
    started: float = 0.0
    token: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since}"

    @property
    def is_here(self) -> bool:
        """Whether this is the process that asks."""
        return (self.machine, self.pid) == (machine(), os.getpid())

    @classmethod
    def here(cls, fingerprint: str) -> "Holder":
        """Return this process."""
        pid, now = os.getpid(), datetime.now(UTC).isoformat(timespec="seconds")
        return cls(socket.gethostname(), pid, now, fingerprint, machine(), started(pid) or 0.0)


@dataclass(frozen=True)
class Claims:
    """The claims of one folder of results. ``beat`` and ``stale`` are seconds."""

    folder: Path
    beat: float = BEAT_SECONDS
    stale: float = STALE_SECONDS
    _seen: dict[str, tuple[int, float]] = field(default_factory=dict)  # beat and time, by token

    @contextmanager
    def hold(self, job: str, fingerprint: str) -> Iterator[Holder | None]:
        """Hold the claim of ``job`` while inside, and give ``None``.

        Where a live process holds it, that one is given. Raises NotWritable.
        """
        own = Holder.here(fingerprint)
        made = self._take(job, own)
        if isinstance(made, Holder):
            yield made
            return
        with _beating(made, self.beat):
            try:
                yield None
            finally:
                self._release(job, made, own)

    def holders(self) -> dict[str, Holder]:
        """Return who holds the claims that are not stale, by job, as far as one look can tell."""
        found = self._all()
        return {job: found[job][1] for job in sorted(found) if not self._is_stale(*found[job])}

    def claimed(self) -> set[str]:
        """Return the jobs that have a claim, stale or not, as the names of the files tell."""
        return set(self._paths())

    def note(self, job: str, campaign: str) -> None:
        """Note that ``job`` was run in a campaign: started together, as the tasks of an array."""
        _write_note(self.folder / f"{job}.tried", campaign=campaign)

    def was_tried(self, job: str, campaign: str) -> bool:
        """Return whether ``note`` was called with these."""
        return _noted(self.folder / f"{job}.tried").get("campaign") == campaign

    def of_process(self, pid: int) -> dict[str, str]:
        """Return the token of each claim that process ``pid`` of this machine holds, by job."""
        return {
            job: holder.token
            for job, (_, holder) in self._all().items()
            if holder.pid == pid and holder.machine == machine()
        }

    def give_up(self, job: str, campaign: str, reason: str) -> None:
        """Note that ``job`` fails for ``reason`` and is not run again in ``campaign``."""
        _write_note(self.folder / f"{job}.given-up", campaign=campaign, reason=reason)

    def reason_of(self, job: str, campaign: str) -> str:
        """Return the reason of ``give_up``, "" where ``job`` may be run."""
        noted = _noted(self.folder / f"{job}.given-up")
        return str(noted.get("reason", "")) if noted.get("campaign") == campaign else ""

    def forget(self, campaign: str) -> None:
        """Remove the notes of a campaign that has ended."""
        for path in self.folder.glob("*.tried"):
            if self.was_tried(path.stem, campaign):
                path.unlink(missing_ok=True)
        for path in self.folder.glob("*.given-up"):
            if self.reason_of(path.stem, campaign):
                path.unlink(missing_ok=True)

    def _take(self, job: str, holder: Holder) -> Path | Holder:
        """Return the file of the claim that was made, or the live process that has one."""
        text = json.dumps(sealed(asdict(holder)), indent=2) + "\n"
        while True:
            current = self._current(job)
            if current is not None and not self._is_stale(*current):
                return current[1]
            number = 1 if current is None else _number(current[0]) + 1
            mine = self.folder / f"{job}.{number}.json"
            if not made_once(mine, text.encode()):
                continue  # another was faster
            # Another may have taken over, finished and released since the claim was read.
            same = current is None or _holder(current[0]).token == current[1].token
            highest = self._current(job)
            if same and highest is not None and highest[0] == mine:
                return mine
            mine.unlink(missing_ok=True)

    def _release(self, job: str, mine: Path, own: Holder) -> None:
        """Remove the claim and those that it took over, the oldest first.

        Nothing is removed where this process was suspended and another one took over and ended.
        """
        if _holder(mine).token != own.token:
            return
        for path in self._files(job):
            if _number(path) <= _number(mine):
                path.unlink(missing_ok=True)

    def _paths(self) -> dict[str, list[Path]]:
        """Return the files of the claims of each job, the oldest first."""
        found: dict[str, list[Path]] = {}
        for path in self.folder.glob("*.json"):
            if job := _job(path):
                found.setdefault(job, []).append(path)
        return {job: sorted(paths, key=_number) for job, paths in found.items()}

    def _all(self) -> dict[str, tuple[Path, Holder]]:
        """Return the claim of each job that counts."""
        return {job: (paths[-1], _holder(paths[-1])) for job, paths in self._paths().items()}

    def _files(self, job: str) -> list[Path]:
        return self._paths().get(job, [])

    def _current(self, job: str) -> tuple[Path, Holder] | None:
        files = self._files(job)
        return (files[-1], _holder(files[-1])) if files else None

    def _is_stale(self, path: Path, holder: Holder) -> bool:
        if holder.machine == machine():
            return has_ended(holder.pid, holder.started)
        try:
            with path.open("rb") as file:  # opened, as NFS then asks the server
                beat = os.fstat(file.fileno()).st_mtime_ns
        except OSError:
            return False  # released meanwhile
        now = time.monotonic()
        known, since = self._seen.get(holder.token, (None, now))
        if known != beat:
            self._seen[holder.token] = beat, now
        return known == beat and now - since > self.stale


def claims_below(folder: Path) -> Iterator[Claims]:
    """Yield the claims of a folder of results, of those that an ablation has in it, of shards."""
    for place in (FOLDER, f"*/{FOLDER}", f"*/*/{FOLDER}"):
        for found in folder.glob(place):
            yield Claims(found)
            yield from (Claims(path) for path in found.iterdir() if path.is_dir())  # of shards


def campaign_of_environment() -> str:
    """Return the name that processes have in common which were started together, "" for none.

    It is the environment variable ``MPQBENCH_CAMPAIGN``, or the number of a SLURM job array.
    """
    array = os.environ.get("SLURM_ARRAY_JOB_ID", "")
    return os.environ.get("MPQBENCH_CAMPAIGN") or (f"slurm-{array}" if array else "")


def _write_note(path: Path, **note: str) -> None:
    write_atomic(path, json.dumps(sealed(note)).encode())


def _noted(path: Path) -> dict[str, str]:
    """Return a note, without anything in it where the file is missing or damaged."""
    try:
        note = json.loads(path.read_bytes())
        return dict(note) if is_whole(note) else {}
    except _DAMAGED:
        return {}


def _job(path: Path) -> str:
    """Return the job of a claim, "" for another file."""
    found = _CLAIM.fullmatch(path.name)
    return found[1] if found else ""


def _number(path: Path) -> int:
    return int(path.name.split(".")[-2])


def _holder(path: Path) -> Holder:
    """Return the process that a file names; one that is told by its beats alone if damaged."""
    content = b""
    try:
        content = path.read_bytes()
        known = json.loads(content)
        if is_whole(known):
            known.pop("checksum")
            return Holder(**known)
    except _DAMAGED:
        pass
    return Holder("a host that its damaged claim hides", 0, "?", token=digest_of_bytes(content))


@contextmanager
def _beating(path: Path, seconds: float) -> Iterator[None]:
    """Touch the file at ``path`` every few seconds while inside, by its handle.

    A file that another process has put in its place is not touched.
    """
    ended = threading.Event()

    def beat(file: int) -> None:
        while not ended.wait(seconds):
            try:
                os.utime(file)
            except OSError:  # removed, or the server is away: others then take over
                continue

    try:
        file = os.open(path, os.O_RDWR)
    except OSError as error:
        raise NotWritable(f"{path} cannot be opened: {reason_of(error)}") from None
    thread = threading.Thread(target=beat, args=(file,), daemon=True, name="claim")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        os.close(file)
