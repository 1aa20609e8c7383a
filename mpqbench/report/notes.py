"""What is said under the rows of a table and around those of a page: templates in ``text/``."""

from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined, UndefinedError

from ..core.errors import BenchError
from ..records.columns import FRECHET_NAMES, frechet_names

TEXTS = Path(__file__).parent / "text"
_TEMPLATES = Environment(
    loader=FileSystemLoader(TEXTS), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)


def filled(name: str, **facts: Any) -> str:
    """Return the text of the template ``name`` with these facts.

    Raises BenchError where a record has no value that the text needs.
    """
    try:
        return _TEMPLATES.get_template(f"{name}.jinja").render(facts)
    except UndefinedError as error:
        raise BenchError(f"the text '{name}' needs what a record lacks: {error}") from None


def notes(name: str, **facts: Any) -> tuple[str, ...]:
    """Return the paragraphs of the template ``name``, each on one line."""
    paragraphs = filled(name, **facts).split("\n\n")
    return tuple(" ".join(text.split()) for text in paragraphs if text.strip())


def table_notes(
    name: str, done: pd.DataFrame, extractor: str | None, **facts: Any
) -> tuple[str, ...]:
    """Return the notes under a table from the rows of a records frame that are ``done``."""
    facts |= {"done": done, "extractor": extractor, "is_fid": extractor in FRECHET_NAMES}
    facts |= {"fd": frechet_names(extractor)[0], "has_distance": done["fd"].notna().any()}
    protocol = None if done.empty else done.sort_values("job")["protocol"].iloc[0]
    return notes(name, protocol=protocol, **facts)
