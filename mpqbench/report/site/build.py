"""Write the static site of records: one page with a leaderboard, and a page for each study.

The pages hold their scripts, styles and data, so that they open from a file and need no network.
A Content-Security-Policy forbids every request but for images and files beside the page.
"""

import base64
import csv
import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ...core.files import write_atomic
from ...records.store import RecordStore
from .data import RECORDS, Board, read_boards, samples_of, site_data

_HERE = Path(__file__).parent
_SCRIPTS = ("vendor/tabulator.min.js", "static/state.js", "static/table.js", "static/plot.js",
            "static/detail.js", "static/main.js")  # fmt: skip
_STYLES = ("vendor/tabulator.min.css", "static/site.css")
_THEME = "static/theme.js"
_PAGES = Environment(
    loader=PackageLoader("mpqbench.report.site"), autoescape=True, undefined=StrictUndefined,
    trim_blocks=True, lstrip_blocks=True,
)  # fmt: skip
_MOST_ROWS = 200  # of a CSV file that a page shows; the file itself is beside the page
_OWN_TABLES = ("leaderboard.csv", "summary.csv")
PUBLISHED = "published/published.csv"


def write_site(folders: Sequence[Path], out: Path) -> list[Path]:
    """Write the site of ``folders`` (runs, or folders of runs) into ``out``; return the pages.

    Records, allocations, tables and figures are copied beside the pages. The same records give
    the same bytes. Raises BenchError for a folder without records or with a damaged one.
    """
    boards = read_boards(folders, out)
    data = site_data(boards)
    studies = [page for top in folders for page in _studies(top, out)]
    quoted = [table for top in folders if (table := _csv_table(top / PUBLISHED))]
    for board in boards:
        _copy_records(board, out)
    pages = {out / "index.html": _index(data, quoted, studies)}
    for study in studies:
        pages[out / study["slug"] / "index.html"] = _study_page(study)
    for path, text in pages.items():
        write_atomic(path, text.encode())
    return list(pages)


def embedded(value: Any) -> Markup:
    """Return ``value`` as JSON that may stand in a script element: no tag can begin or end."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _index(data: dict[str, Any], quoted: list[Any], studies: list[Any]) -> str:
    return _page("index.html.jinja", _SCRIPTS, data=embedded(data), quoted=quoted, studies=studies)


def _study_page(study: dict[str, Any]) -> str:
    return _page("study.html.jinja", (), study=study)


def _page(name: str, scripts: Sequence[str], **facts: Any) -> str:
    texts = [(_HERE / path).read_text("utf-8") for path in (_THEME, *scripts)]
    styles = "\n".join((_HERE / path).read_text("utf-8") for path in _STYLES)
    policy = (
        f"default-src 'none'; script-src {' '.join(map(_hash, texts))}; "
        "style-src 'unsafe-inline'; img-src 'self' file: data:; base-uri 'none'; form-action 'none'"
    )
    return _PAGES.get_template(name).render(
        policy=policy, scripts=[Markup(text) for text in texts], styles=Markup(styles), **facts
    )


def _hash(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _copy_records(board: Board, out: Path) -> None:
    """Copy the records of a board, their allocations and samples into ``out``."""
    store = RecordStore(board.folder)
    for record in board.records:
        paths = store.record_path(record.job), store.allocation_path(record.job)
        for path, kind in zip(paths, (RECORDS, "allocations"), strict=True):
            if path.is_file():
                _copy(path, out / board.slug / kind / path.name)
    for block in board.blocks:
        if (samples := samples_of(board, block)) is not None:
            _copy(samples, out / board.slug / "figures" / samples.name)


def _copy(source: Path, target: Path) -> None:
    if source.resolve() != target.resolve():
        write_atomic(target, source.read_bytes())


def _studies(top: Path, out: Path) -> list[dict[str, Any]]:
    """Copy tables and figures of every folder that has any; return what their pages show."""
    pages = []
    for folder in sorted(
        path for path in (top, *top.iterdir()) if path.is_dir() and path.resolve() != out.resolve()
    ):
        names = sorted(path for path in folder.glob("*.csv") if path.name not in _OWN_TABLES)
        figures = sorted((folder / "figures").rglob("*.png"))
        tables = [table for path in names if (table := _csv_table(path))]
        if folder.name == Path(PUBLISHED).parent.name or not (tables or figures):
            continue
        slug = folder.resolve().name.lower()
        for path in (*names, *figures):
            _copy(path, out / slug / path.relative_to(folder))
        links = [path.relative_to(folder).as_posix() for path in figures]
        pages.append({"slug": slug, "title": folder.resolve().name,
                      "tables": tables, "figures": links})  # fmt: skip
    return pages


def _csv_table(path: Path) -> dict[str, Any] | None:
    """Return the heading and the first rows of a CSV file; nothing where there is none."""
    if not path.is_file():
        return None
    with path.open(encoding="utf-8", newline="") as file:
        lines = list(csv.reader(file))
    heading, rows = (lines[0], lines[1:]) if lines else ([], [])
    used = [i for i, _ in enumerate(heading) if any(row[i : i + 1] != [""] for row in rows)]
    return {
        "file": path.name,
        "heading": [heading[i] for i in used],
        "rows": [[_short("".join(row[i : i + 1])) for i in used] for row in rows[:_MOST_ROWS]],
        "numbers": [_is_number_column(row[i : i + 1] for row in rows) for i in used],
        "count": len(rows),
    }


def _is_number_column(cells: Iterable[list[str]]) -> bool:
    texts = [cell[0] for cell in cells if cell and cell[0]]
    return bool(texts) and all(_number(text) is not None for text in texts)


def _short(text: str) -> str:
    """Return a number with at most four significant digits behind its point, as people read it."""
    value = _number(text)
    return text if value is None or "." not in text or len(text) < 8 else f"{value:.4g}"


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
