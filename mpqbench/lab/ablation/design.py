"""The design of an ablation: what is varied, kept beside the records."""

from pathlib import Path

import yaml
from pydantic import Field

from ...core.files import write_atomic
from ...core.recipe import Recipe
from ...core.settings import Frozen, read_yaml, validate
from .effects import Scale
from .factors import Factors, default_factors

FILE = "ablation.yaml"


class Design(Frozen):
    """A method and what is varied of it: ``factors`` in combination, or numbers in ``sweeps``.

    ``method`` is the recipe itself, so that a later change of that name has no effect. ``factors``
    are ``{factor: {level: {field: value}}}``; without any they are the method's own. With
    ``sweeps`` there is at most one factor, whose levels are lines; ``full`` and ``scale`` are
    ignored.
    """

    method: Recipe
    factors: Factors = Field(default_factory=dict)
    sweeps: tuple[str, ...] = ()
    full: bool = True
    scale: Scale = "log"

    def save(self, folder: Path) -> Path:
        """Write ``ablation.yaml``; return its path."""
        data = self.model_dump(mode="json", exclude_defaults=True)
        if not (self.factors or self.sweeps):
            data["factors"] = default_factors(self.method)
        path = folder / FILE
        text = yaml.safe_dump(data, sort_keys=False, width=100, allow_unicode=True)
        write_atomic(path, text.encode())
        return path


def load(folder: Path) -> Design | None:
    """Return the design in ``folder``, ``None`` if there is none. Raises BenchError."""
    path = folder / FILE
    return validate(Design, read_yaml(path), str(path)) if path.is_file() else None
