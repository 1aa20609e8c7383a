"""The folder of a leaderboard: what is kept in it, what is rendered, and its manifest."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Self

from ..core.errors import BenchError, unknown
from ..core.files import digest_of_file
from ..core.settings import Frozen, validate
from ..core.yaml_text import read_yaml
from .environment import by_environment
from .schema import JobRecord
from .store import read_object

ABOUT, RECORDS, PUBLISHED = "about.md", "records", "published.csv"
MANIFEST, SUBMISSIONS = "manifest.json", "submissions.yaml"
TEXTS = ("README.md", "leaderboard.csv", "leaderboard.md", "table.tex")  # rendered from records
_NOT_KEPT = ("cache/", "logs/", "replaced/")


class Measured(Frozen):
    """How many records an environment and a commit gave."""

    environment: str
    commit: str
    records: int


class Manifest(Frozen):
    """The digests of all files of a leaderboard that no command can make again, by path.

    Figures are among them: what they are drawn from, such as images, may not be kept.
    """

    name: str
    measured: tuple[Measured, ...]
    files: dict[str, str]

    @classmethod
    def of(cls, folder: Path, records: Iterable[JobRecord]) -> Self:
        """Make the manifest of ``folder`` as it is. Raises BenchError for a link in it."""
        places = sorted((*key, len(rows)) for key, rows in by_environment(records).items())
        measured = [Measured(environment=e, commit=c, records=n) for e, c, n in places]
        return cls(name=folder.resolve().name, measured=tuple(measured), files=kept_files(folder))

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the manifest of ``folder``. Raises BenchError where it is missing or damaged."""
        path = folder / MANIFEST
        if not path.is_file():
            raise BenchError(f"{path} does not exist: run `mpqbench leaderboard build`")
        return validate(cls, read_object(path), str(path))

    @property
    def text(self) -> str:
        """The content of the file."""
        return json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=True) + "\n"

    def differences(self, files: Mapping[str, str]) -> dict[str, str]:
        """Return what has become of every file that is not in ``files`` as it is here."""
        gone = dict.fromkeys(self.files.keys() - files.keys(), "is missing")
        new = dict.fromkeys(files.keys() - self.files.keys(), "was added")
        both = self.files.keys() & files.keys()
        other = {name: "was changed" for name in both if self.files[name] != files[name]}
        return dict(sorted({**gone, **new, **other}.items()))


class Submission(Frozen):
    """Who gave the record of a job, when (UTC), and the digest of its file."""

    contributor: str
    date: str
    digest: str


class Submissions(Frozen):
    """The records of contributors by job."""

    jobs: dict[str, Submission]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read those of ``folder``: none where there is no file. Raises BenchError."""
        path = folder / SUBMISSIONS
        return validate(cls, read_yaml(path), str(path)) if path.is_file() else cls(jobs={})


def kept_files(folder: Path) -> dict[str, str]:
    """Return the digests of all files of ``folder`` but rendered texts and ``about.md``.

    Hidden files, caches and logs are left out. Raises BenchError for a link: it may lead anywhere.
    """
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if any(part.startswith(".") for part in name.split("/")) or name.startswith(_NOT_KEPT):
            continue
        if path.is_symlink():
            raise BenchError(f"{path} is a link: put the file itself there")
        digest = digest_of_file(path) if path.is_file() else None
        if digest is not None and name not in (ABOUT, MANIFEST, *TEXTS):
            found[name] = digest
    return found


def boards_in(folder: Path, names: Sequence[str] = ()) -> list[Path]:
    """Return the leaderboards called ``names`` in ``folder``, or all of them, sorted.

    A leaderboard has ``records/``, or ``published.csv`` with quoted results. Raises BenchError for
    an unknown name, and where there is none.
    """
    marks = [*folder.glob(f"*/{RECORDS}"), *folder.glob(f"*/{PUBLISHED}")]
    found = {path.parent.name: path.parent for path in marks}
    if not found:
        raise BenchError(f"{folder} has no leaderboard: give the folder of folders with records/")
    for name in names:
        if name not in found:
            raise unknown("leaderboard", name, found)
    return [found[name] for name in sorted({*names} or found)]


def is_quoted(board: Path) -> bool:
    """Return whether ``board`` has quoted results in place of records."""
    return (board / PUBLISHED).is_file()
