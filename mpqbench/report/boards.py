"""What is rendered in the folder of a leaderboard: the same records give the same bytes."""

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from ..core.errors import BenchError
from ..core.files import write_atomic
from ..records.board import ABOUT, MANIFEST, PUBLISHED, Manifest, is_quoted, kept_files
from ..records.runs import read_runs
from ..records.store import RecordStore
from .latex import to_latex
from .notes import filled
from .pages import PAGE, About, how_measured, index
from .render import escaped, pipe_table, to_csv, to_markdown
from .write import tables_of_runs, write_tables

_ARXIV = re.compile(r"arXiv (\d{4}\.\d{4,5})")
_QUOTED = {
    "method": "method", "bits": "bits (W/A)", "sampler": "sampler", "steps": "steps",
    "guidance": "guidance", "n_images": "N", "fid": "FID", "sfid": "sFID", "is": "IS",
    "precision": "precision", "from": "source", "note": "note",
}  # fmt: skip
_COLUMNS = {*_QUOTED, "model", "resolution", "source", "w_bits", "a_bits"} - {"bits", "from"}
_WORDS = ("method", "sampler", "note")


def board_texts(board: Path) -> dict[Path, str]:
    """Return the rendered texts of ``board`` by path, but the manifest, as they should be.

    The page comes last: its tables are those of the files beside it. Raises BenchError for records
    that cannot be read, a mistake in ``about.md``, and a quoted result without its source.
    """
    if is_quoted(board):
        return {board / PAGE: published_page(board / PUBLISHED)}
    texts = _tables(board)
    page = About.read(board).page() if (board / ABOUT).is_file() else _plain(board, texts)
    return {**texts, board / PAGE: page}


def build_board(board: Path) -> dict[str, str]:
    """Render everything in ``board``; return what has changed of the files in its manifest.

    Raises BenchError as ``board_texts``.
    """
    if is_quoted(board):
        _write(board_texts(board))
        return {}
    kept_files(board)
    if (board / ABOUT).is_file():
        About.read(board)
    runs, texts = read_runs([board]), _tables(board)
    with tempfile.TemporaryDirectory() as folder:
        drawn = Path(folder)
        write_tables(tables_of_runs(runs), runs, drawn)
        figures = sorted((drawn / "figures").rglob("*.png"))
        contents = {board / path.relative_to(drawn): path.read_bytes() for path in figures}
    _write(texts)
    for path, content in contents.items():
        write_atomic(path, content)
    _write({path: text for path, text in board_texts(board).items() if path not in texts})
    before = Manifest.read(board) if (board / MANIFEST).is_file() else None
    manifest = Manifest.of(board, RecordStore(board).read_all())
    _write({board / MANIFEST: manifest.text})
    return before.differences(manifest.files) if before else {}


def stale(board: Path) -> list[Path]:
    """Return the rendered texts of ``board`` that are not what a build would write."""
    return [path for path, text in board_texts(board).items() if not _holds(path, text)]


def write_index(leaderboards: Path) -> Path:
    """Write the page with a line for each leaderboard; return its path."""
    path = leaderboards / PAGE
    _write({path: index(leaderboards)})
    return path


def index_is_stale(leaderboards: Path) -> bool:
    """Return whether the page of ``write_index`` is not what it would write."""
    return not _holds(leaderboards / PAGE, index(leaderboards))


def published_page(path: Path) -> str:
    """Return the page of quoted results. Raises BenchError for a row without a source."""
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    if missing := _COLUMNS - {*frame.columns}:
        raise BenchError(f"{path} has no column {', '.join(sorted(missing))}")
    for number, source in enumerate(frame["source"], 2):
        if not source.strip():
            raise BenchError(f"{path}, line {number}: a quoted result needs its source")
    sources = list(dict.fromkeys(frame["source"]))
    numbers = frame["source"].map({source: f"[{at}]" for at, source in enumerate(sources, 1)})
    frame["bits"] = frame["w_bits"] + "/" + frame["a_bits"]
    frame = frame.map(escaped).assign(**{"from": numbers})
    tables = {}
    for (model, resolution), rows in frame.groupby(["model", "resolution"], sort=False):
        shown = rows[list(_QUOTED)].rename(columns=_QUOTED)
        tables[f"{model}, {resolution} x {resolution}"] = pipe_table(shown, _WORDS)
    cited = [_ARXIV.sub(r"[\g<0>](https://arxiv.org/abs/\1)", escaped(text)) for text in sources]
    return filled("published", tables=tables, sources=cited)


def _tables(board: Path) -> dict[Path, str]:
    table = tables_of_runs(read_runs([board]))["leaderboard"]
    title = f"Leaderboard of {board.resolve().name}"
    return {
        board / "leaderboard.csv": to_csv(table),
        board / "leaderboard.md": to_markdown(table, title),
        board / "table.tex": to_latex(table, title, label=board.resolve().name),
    }


def _plain(board: Path, texts: Mapping[Path, str]) -> str:
    """Return the page of a leaderboard without an ``about.md``: its table, and how it was made."""
    table = texts[board / "leaderboard.md"]
    return f"{table}\n## How it was measured\n\n{how_measured(board)}\n"


def _holds(path: Path, text: str) -> bool:
    return path.is_file() and path.read_bytes() == text.encode(errors="backslashreplace")


def _write(texts: Mapping[Path, str]) -> None:
    for path, text in texts.items():
        write_atomic(path, text.encode(errors="backslashreplace"))
