"""The columns of every table of results: what each means and how it is shown."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import pandas as pd

from ..cost.overhead import SOURCES

Row = Mapping[str, Any]
Role = Literal["key", "rank", "score", "interval", "cost", "text"]

FRECHET_NAMES = {"inception-adm": ("FID", "sFID"), "clean-fid": ("FID-clean", "sFID-clean")}
_WIDE = 1e9  # from here on a number with its places is wider than a column
SCALES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


@dataclass(frozen=True)
class Column:
    """One column of a table.

    ``form`` is a format of the value divided by ``scale``; ``interval`` names the column of the
    half-width; ``view`` is the narrowest rendering that shows the column: ``brief`` (terminal),
    ``full`` (Markdown) or ``data`` (CSV only).
    """

    name: str
    header: str
    role: Role
    direction: Literal["lower", "higher"] | None = None
    form: str = ""
    scale: float = 1.0
    interval: str | None = None
    view: Literal["brief", "full", "data"] = "data"

    def text(self, row: Row) -> str:
        """Return the cell as a person reads it, with its half-width; empty without a value."""
        value = row.get(self.name)
        if value is None:
            return ""
        if isinstance(value, str | bool):
            return printable(str(value))
        form = self.form if not self.form or abs(value / self.scale) < _WIDE else ".3g"
        sign = "+" if self.name.endswith("_delta") else ""
        shown = format(value / self.scale, sign + form) if form else str(value)
        half = row.get(self.interval) if self.interval else None
        if isinstance(half, int | float):
            shown += f" ±{_half_width(half / self.scale, shown, form)}"
        return shown


def _half_width(half: float, shown: str, form: str) -> str:
    """Format a half-width with the decimal places of ``shown``, or as many as it needs."""
    if not form.endswith("g") or "e" in shown or half <= 0:
        return format(half, form)
    places = len(shown.partition(".")[2])
    return f"{half:.{max(places, -math.floor(math.log10(half)))}f}"


def printable(text: str) -> str:
    """Return ``text`` on one line, with its control sequences written out."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in " ".join(text.split()))


def frechet_names(extractor: str | None) -> tuple[str, str]:
    """Return the headers of the two Fréchet columns: only the published Inception gives an *FID*.

    An extractor with other weights has their digest behind its name, and its columns have both.
    """
    fd, sfd = FRECHET_NAMES.get(extractor or "", ("FD", "sFD"))
    if " " not in (extractor or ""):
        return fd, sfd
    weights = str(extractor).replace("inception-adm", "inception")
    return f"{fd} ({weights})", f"{sfd} ({weights})"


def unit_of(values: Iterable[float]) -> tuple[float, str]:
    """Return scale and prefix for BitOPs with which the smallest positive value is at least 0.1."""
    smallest = min((value for value in values if value > 0), default=0.0)
    return next(((scale, name) for scale, name in SCALES if smallest >= 0.1 * scale), (1.0, ""))


def _data(role: Role, *names: str) -> list[Column]:
    return [Column(name, name, role) for name in names]


OVERHEAD = tuple(f"overhead_{source}" for source in SOURCES)  # parts of ``bitops``


def _interval(column: Column, end: str = "_ci") -> list[Column]:
    """Return ``column`` with an interval, and the column of the half-widths."""
    half = f"{column.name}{end}"
    return [replace(column, interval=half), *_data("interval", half)]


_OF_ONE_SEED = ("fingerprint", "ties", "job", "baseline_")


def _over_seeds(columns: Iterable[Column]) -> tuple[Column, ...]:
    """Replace the jackknife intervals of ``columns`` by the standard deviation over seeds."""
    kept: list[Column] = []
    for column in columns:
        if column.role == "score":
            kept += _interval(column, "_std")
        elif column.name == "seed":
            kept.append(Column("seeds", "seeds", "text", form=".0f", view="full"))
            kept += _data("text", "seeds_done")
        elif column.role != "interval" and not column.name.startswith(_OF_ONE_SEED):
            kept.append(column)
    return tuple(kept)


LEADERBOARD = (
    Column("model", "model", "key"),
    Column("method", "method", "key", view="brief"),
    Column("budget", "budget", "key", view="brief"),
    Column("format", "format", "key", view="full"),
    Column("seed", "seed", "key", view="full"),
    *_data("text", "status", "reason"),
    *_interval(Column("fd", "FD", "score", "lower", ".2f", view="brief")),
    *_interval(Column("fd_delta", "ΔFD", "score", "lower", ".2f", view="brief")),
    *_interval(Column("fd_infinity", "FD-infinity", "score", "lower", ".2f", view="full")),
    *_interval(Column("sfd", "sFD", "score", "lower", ".2f", view="brief")),
    *_interval(Column("is", "IS", "score", "higher", ".2f", view="full")),
    Column("precision", "precision", "score", "higher", ".3f", view="full"),
    Column("recall", "recall", "score", "higher", ".3f", view="full"),
    *_interval(Column("kid", "KID (10⁻³)", "score", "lower", ".3f", 1e-3, view="full")),
    *_interval(Column("prompt_top1", "prompt top-1", "score", "higher", ".3f", view="brief")),
    *_interval(Column("prompt_top5", "prompt top-5", "score", "higher", ".3f", view="full")),
    *_interval(Column("clip_score", "CLIP score", "score", "higher", ".2f", view="full")),
    Column("psnr", "PSNR (dB)", "score", "higher", ".2f", view="brief"),
    Column("ssim", "SSIM", "score", "higher", ".3f", view="full"),
    Column("lpips", "LPIPS", "score", "lower", ".3f", view="full"),
    Column("latent_mse", "latent MSE", "score", "lower", ".3g", view="full"),
    Column("output_mse", "output MSE", "score", "lower", ".3g", view="full"),
    Column("bitops", "BitOPs", "cost", "lower", ".3f", view="brief"),
    Column("bitops_linear", "of linear layers", "cost", "lower", ".3f", view="full"),
    *_data("cost", "bitops_per_image", *OVERHEAD),
    Column("bytes", "MB", "cost", "lower", ".2f", 1e6, view="brief"),
    Column("effective_bits", "eff. bits", "cost", "lower", ".2f", view="full"),
    *_data("text", "satisfied", "cost_rule"),
    Column("search_evals", "search evals", "cost", "lower", ".4g", view="full"),
    Column("seconds", "seconds", "cost", "lower", ".1f", view="full"),
    *_data("cost", "peak_mb"),
    *_data("text", "extractor", "n_images", "fingerprint", "metric_fingerprint"),
    Column("noise_mse", "noise MSE", "score", "lower", ".3g", view="full"),
    Column("rank", "rank", "rank", "lower", ".0f", view="full"),
    Column("baseline_method", "baseline", "text", view="full"),
    *_interval(Column("baseline_delta", "ΔFD to baseline", "text", "lower", ".2f", view="full")),
    *_data("text", "baseline_p", "baseline_p_holm"),
    Column("baseline_holm", "Holm", "text", view="full"),
    Column("hypervolume", "hypervolume", "text", "higher", ".3f"),
    Column("mark", "env", "text", view="brief"),
    *_data("text", "ties", "remark", "notes"),
    *_data("cost", "mean_weight_bits", "mean_activation_bits"),
    *_data("text", "environment", "commit", "recipe_digest", "model_digest", "job"),
)
_REALIZED = Column("realizations", "realizations", "text", form=".0f", view="brief")
SUMMARY = _over_seeds(LEADERBOARD)
BY_NAME = {column.name: column for column in LEADERBOARD}


def leaderboard_columns(rows: pd.DataFrame) -> tuple[Column, ...]:
    """Return the columns of a leaderboard, with `realizations` where a row has several."""
    if rows["realizations"].eq(1).all():
        return LEADERBOARD
    at = LEADERBOARD.index(BY_NAME["seed"]) + 1
    return (*LEADERBOARD[:at], _REALIZED, *LEADERBOARD[at:])


RIVALS = ("uniform", "ilp")  # methods with which a study compares every searcher, seed by seed
SEARCHERS = (
    *LEADERBOARD[:3],
    *_data("text", "status", "reason"),
    Column("seeds", "seeds", "text", form=".0f", view="full"),
    *_interval(Column("output_mse", "held-out MSE (10⁻³)", "score", "lower", ".2f", 1e-3,
                      view="brief"), "_std"),
    Column("fd", "FD", "score", "lower", ".3f", view="brief"),
    *_interval(Column("fd_delta", "ΔFD", "score", "lower", ".3f", view="brief")),
    *(
        column
        for rival in RIVALS
        for column in (
            Column(f"fd_{rival}_delta", f"FD - {rival}", "text", form=".3f",
                   interval=f"fd_{rival}_ci", view="brief"),
            *_data("interval", f"fd_{rival}_ci"),
        )
    ),
    *_interval(Column("regret", "regret %", "score", "lower", ".2f", 1e-2, view="brief"), "_std"),
    Column("search_evals", "forwards", "cost", "lower", ".0f", view="brief"),
    Column("search_seconds", "seconds", "cost", "lower", ".0f", view="brief"),
    *_data("cost", "bitops_linear"),
    *_data("text", "satisfied"),
)  # fmt: skip

OUTPUT_ERRORS = {"output_mse": "output MSE", "noise_mse": "noise MSE"}  # have no replicates
_SHARED = (
    "psnr", "ssim", "bitops", "bytes", "effective_bits", "satisfied", "search_evals", "seconds",
    "extractor", "n_images", "metric_fingerprint",
)  # fmt: skip
ABLATION = (
    *_data("key", "method"),
    BY_NAME["budget"],
    *_data("text", "status", "reason"),
    Column("seeds_done", "seeds", "text", form=".0f", view="full"),
    *(BY_NAME[name] for name in ("fd", "fd_ci", "sfd", "sfd_ci", "is", "is_ci")),
    replace(BY_NAME["fd_delta"], view="full"),
    *_data("interval", "fd_delta_ci"),
    *_interval(replace(BY_NAME["output_mse"], view="brief"), "_std"),
    *_interval(replace(BY_NAME["noise_mse"], view="brief"), "_std"),
    *(BY_NAME[name] for name in _SHARED),
)


def adapt(
    columns: Iterable[Column], rows: pd.DataFrame, extractor: str | None
) -> tuple[Column, ...]:
    """Return ``columns`` with the headers of ``extractor`` and a unit of BitOPs that fits ``rows``.

    The seed column joins the brief view if the rows have several seeds.
    """
    fd, sfd = frechet_names(extractor)
    scale, prefix = unit_of(rows["bitops"].dropna() if "bitops" in rows else ())
    formats = set(rows["format"]) - {""} if "format" in rows else set()
    several = "seed" in rows and rows["seed"].nunique() > 1
    changes: dict[str, dict[str, Any]] = {
        "fd": {"header": fd},
        "fd_infinity": {"header": "-infinity ".join(fd.partition(" ")[::2]).rstrip()},
        "fd_delta": {"header": f"Δ{fd}"},
        "baseline_delta": {"header": f"Δ{fd} to baseline"},
        "sfd": {"header": sfd},
        "bitops": {"header": f"{prefix}BitOPs", "scale": scale},
        "bitops_linear": {"header": f"{prefix}BitOPs, linear layers", "scale": scale},
        "seed": {"view": "brief"} if several else {},
        "format": {"view": "brief"} if len(formats) > 1 else {},
    }
    changes |= {f"fd_{rival}_delta": {"header": f"{fd} - {rival}"} for rival in RIVALS}
    return tuple(replace(column, **changes.get(column.name, {})) for column in columns)
