"""The columns of a leaderboard and their roles, so that no renderer guesses from a name."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

Value = str | int | float | bool | None
Row = Mapping[str, Value]
Role = Literal["key", "rank", "score", "interval", "cost", "text"]
Direction = Literal["lower", "higher"]
View = Literal["brief", "full", "data"]

FRECHET_NAMES = {"inception-adm": ("FID", "sFID"), "clean-fid": ("FID-clean", "sFID-clean")}
SCALES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


@dataclass(frozen=True)
class Column:
    """One column: what it means and how it is shown.

    ``form`` is a format specification for the value divided by ``scale``; ``interval`` names the
    column that holds its half-width; ``view`` is the narrowest rendering that shows it: ``brief``
    (terminal), ``full`` (Markdown) or ``data`` (CSV only).
    """

    name: str
    header: str
    role: Role
    direction: Direction | None = None
    form: str = ""
    scale: float = 1.0
    interval: str | None = None
    view: View = "data"

    def text(self, row: Row) -> str:
        """The cell as a person reads it, with its half-width; empty where there is no value."""
        value = row.get(self.name)
        if value is None:
            return ""
        if isinstance(value, str | bool):
            return " ".join(str(value).split())
        sign = "+" if self.name.endswith("_delta") else ""
        shown = format(value / self.scale, sign + self.form) if self.form else str(value)
        half = row.get(self.interval) if self.interval else None
        if isinstance(half, int | float):
            shown += f" ±{_half_width(half / self.scale, shown, self.form)}"
        return shown


def _half_width(half: float, shown: str, form: str) -> str:
    """In ``form``; where that counts significant digits, with the places of ``shown`` or more."""
    if not form.endswith("g") or "e" in shown or half <= 0:
        return format(half, form)
    places = len(shown.partition(".")[2])
    return f"{half:.{max(places, -math.floor(math.log10(half)))}f}"


def frechet_names(extractor: str | None) -> tuple[str, str]:
    """Headers of the two Fréchet columns: *FID* belongs to the Inception network alone."""
    return FRECHET_NAMES.get(extractor or "", ("FD", "sFD"))


def unit_of(values: Iterable[float]) -> tuple[float, str]:
    """Scale and prefix for BitOPs, such that the smallest positive value is at least 0.1."""
    smallest = min((value for value in values if value > 0), default=0.0)
    return next(((scale, name) for scale, name in SCALES if smallest >= 0.1 * scale), (1.0, ""))


LEADERBOARD = (
    Column("model", "model", "key"),
    Column("method", "method", "key", view="brief"),
    Column("budget", "budget", "key", view="brief"),
    Column("seed", "seed", "key", view="full"),
    Column("status", "status", "text"),
    Column("reason", "reason", "text"),
    Column("fd", "FD", "score", "lower", ".2f", interval="fd_ci", view="brief"),
    Column("fd_ci", "FD ±", "interval"),
    Column("fd_delta", "ΔFD", "score", "lower", ".2f", interval="fd_delta_ci", view="brief"),
    Column("fd_delta_ci", "ΔFD ±", "interval"),
    Column("sfd", "sFD", "score", "lower", ".2f", interval="sfd_ci", view="brief"),
    Column("sfd_ci", "sFD ±", "interval"),
    Column("is", "IS", "score", "higher", ".2f", interval="is_ci", view="full"),
    Column("is_ci", "IS ±", "interval"),
    Column("precision", "precision", "score", "higher", ".3f", view="full"),
    Column("recall", "recall", "score", "higher", ".3f", view="full"),
    Column("kid", "KID (10⁻³)", "score", "lower", ".3f", 1e-3, interval="kid_ci", view="full"),
    Column("kid_ci", "KID ±", "interval"),
    Column("psnr", "PSNR (dB)", "score", "higher", ".2f", view="brief"),
    Column("ssim", "SSIM", "score", "higher", ".3f", view="full"),
    Column("latent_mse", "latent MSE", "score", "lower", ".3g", view="full"),
    Column("output_mse", "output MSE", "score", "lower", ".3g", view="full"),
    Column("bitops", "BitOPs", "cost", "lower", ".3f", view="brief"),
    Column("bitops_linear", "linear BitOPs", "cost", "lower"),
    Column("bitops_per_image", "BitOPs per image", "cost", "lower"),
    Column("bytes", "MB", "cost", "lower", ".2f", 1e6, view="brief"),
    Column("effective_bits", "eff. bits", "cost", "lower", ".2f", view="full"),
    Column("satisfied", "within budget", "text"),
    Column("search_evals", "search evals", "cost", "lower", ".4g", view="full"),
    Column("seconds", "seconds", "cost", "lower", ".1f", view="full"),
    Column("peak_mb", "peak MB", "cost", "lower", ".0f"),
    Column("extractor", "extractor", "text"),
    Column("n_images", "N", "text"),
    Column("fingerprint", "fingerprint", "text"),
    Column("metric_fingerprint", "metric fingerprint", "text"),
    Column("noise_mse", "noise MSE", "score", "lower", ".3g", view="full"),
    Column("rank", "rank", "rank", "lower", ".0f", view="full"),
    Column("ties", "ties", "text"),
    Column("mean_weight_bits", "weight bits", "cost", "lower"),
    Column("mean_activation_bits", "activation bits", "cost", "lower"),
    Column("job", "job", "text"),
)


def _over_seeds(columns: Iterable[Column]) -> tuple[Column, ...]:
    """The same columns with the spread over seeds in the place of the jackknife interval."""
    dropped = {"seed", "fingerprint", "ties", "job"}
    kept: list[Column] = []
    for column in columns:
        if column.name in dropped or column.role == "interval":
            continue
        if column.role == "score":
            spread = f"{column.name}_std"
            kept += [
                replace(column, interval=spread),
                Column(spread, f"{column.header} std", "interval"),
            ]
        else:
            kept.append(column)
        if column.name == "budget":
            kept += [
                Column("seeds", "seeds", "text", form=".0f", view="full"),
                Column("seeds_done", "seeds done", "text"),
            ]
    return tuple(kept)


SUMMARY = _over_seeds(LEADERBOARD)


def adapt(
    columns: Iterable[Column], rows: Iterable[Row], extractor: str | None
) -> tuple[Column, ...]:
    """``columns`` with the Fréchet headers of ``extractor`` and BitOPs in a unit fit for ``rows``.

    The seed column joins the brief view where the rows have several seeds.
    """
    rows = list(rows)
    fd, sfd = frechet_names(extractor)
    numbers = [value for row in rows if isinstance(value := row["bitops"], int | float)]
    scale, prefix = unit_of(numbers)
    headers = {"fd": fd, "fd_delta": f"Δ{fd}", "sfd": sfd, "bitops": f"{prefix}BitOPs"}
    several = len({row.get("seed") for row in rows}) > 1
    result = []
    for column in columns:
        column = replace(column, header=headers.get(column.name, column.header))
        if column.name == "bitops":
            column = replace(column, scale=scale)
        if column.name == "seed" and several:
            column = replace(column, view="brief")
        result.append(column)
    return tuple(result)
