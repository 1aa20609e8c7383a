"""Files that are written in one step, and tables in them."""

import io
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def write_atomic(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` in one step: a reader sees the old file or the new one.

    The temporary file lies in the same folder, because a rename is atomic only within one file
    system, and it is flushed to the disk before the rename. Creates the folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)  # mkstemp makes it private to the user; results are for sharing
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_table(path: Path, table: "pd.DataFrame") -> None:
    """Write a table as parquet in one step."""
    content = io.BytesIO()
    table.to_parquet(content, index=False)
    write_atomic(path, content.getvalue())
