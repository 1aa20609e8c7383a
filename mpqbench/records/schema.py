"""One typed, flat result row per job: what is kept, and what is refused."""

from datetime import datetime
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    model_validator,
)

from ..core.recipe import FULL_PRECISION
from ..core.suite import BudgetText

SCHEMA_VERSION: Literal[1] = 1
FULL_METHOD = FULL_PRECISION.name  # the unquantized model: the reference of every pair
JOB_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9+._-]*$"

Status = Literal["done", "diverged", "infeasible", "failed", "skipped", "not-run"]
Metric = Literal[
    "fd", "sfd", "is", "precision", "recall", "kid", "psnr", "ssim", "latent_mse", "output_mse",
    "noise_mse", "fd_infinity", "prompt_top1", "prompt_top5", "lpips", "clip_score",
]  # fmt: skip
METRICS: tuple[str, ...] = get_args(Metric)


def _zoned(text: str) -> str:
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError(f"'{text}' has no time zone: write UTC, e.g. 2026-01-31T12:00:00+00:00")
    return text


Time = Annotated[str, AfterValidator(_zoned)]
# Larger numbers are no results, and their squares or their integers do not fit a table.
LARGEST, MOST = 1e100, 2**63 - 1
Number = Annotated[float, Field(ge=-LARGEST, le=LARGEST)]
Amount = Annotated[float, Field(ge=0, le=LARGEST)]
Count = Annotated[int, Field(ge=0, le=MOST)]


def _bounded(value: JsonValue) -> JsonValue:
    """Return ``value``. Raises ValueError for a number in it that is too large."""
    for part in value if isinstance(value, list) else ():
        _bounded(part)
    for part in value.values() if isinstance(value, dict) else ():
        _bounded(part)
    if isinstance(value, int | float) and abs(value) > LARGEST:
        raise ValueError(f"numbers beyond {LARGEST:g} are no settings")
    return value


def _inside(name: str) -> str:
    """Return ``name``. Raises ValueError for a path that leads out of the folder of results."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name:
        raise ValueError(f"names a file outside: {name}")
    return name


FileName = Annotated[str, AfterValidator(_inside)]


def _encodable(value: Any) -> Any:
    """Write what UTF-8 has no code for, as in the names of damaged files, with a backslash."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


Text = Annotated[str, BeforeValidator(_encodable)]
JsonSettings = Annotated[dict[str, JsonValue], AfterValidator(_bounded)]


class RecordPart(BaseModel):
    """Base of everything in a record: immutable, no unknown key, no NaN and no infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Score(RecordPart):
    """One metric of one job.

    ``ci`` is the half-width of its 95 % interval in the unit of ``value``; ``replicates`` are the
    leave-one-group-out values of the delete-group jackknife, in group order, so that two jobs over
    the same images can be compared pairwise. Both are absent where they were not computed.
    """

    value: Number
    ci: Amount | None = None
    replicates: tuple[Number, ...] = ()


class AllocationSummary(RecordPart):
    """An allocation in short: MAC-weighted mean bits, and how many groups have each precision."""

    mean_weight_bits: float = Field(gt=0, le=LARGEST)
    mean_activation_bits: float = Field(gt=0, le=LARGEST)
    counts: dict[str, Count]


class FormerCosts(RecordPart):
    """What an older cost rule counted: ``rule`` names it."""

    rule: str
    bitops: Count
    bitops_per_image: Count


class Costs(RecordPart):
    """Achieved cost as the harness counted it.

    ``macs`` and the BitOPs are per forward of one image, except ``bitops_per_image`` (times
    guidance passes times steps); ``bytes`` is the packed model, ``effective_bits`` is
    8 bytes / parameters; ``satisfied`` says whether the budget was kept. ``branch_bitops`` and
    ``branch_bytes`` are what branches take of ``bitops`` and ``bytes``, so that a budget can be
    read with them and without them, whichever the recipe chose. ``overhead`` is the part of
    ``bitops`` by source (``cost.overhead.SOURCES``) and ``cost_rule`` names the rule; records from
    before that rule have neither. ``before`` is what an older rule counted of a record that was
    counted again.
    """

    macs: Count
    parameters: Count
    bitops: Count
    bitops_linear: Count
    bitops_per_image: Count
    bytes: Count
    effective_bits: Amount
    satisfied: bool
    branch_bitops: Count = 0
    branch_bytes: Count = 0
    overhead: dict[str, Count] = Field(default_factory=dict)
    cost_rule: str | None = None
    before: FormerCosts | None = None


class Provenance(RecordPart):
    """Where a number comes from; ``None`` where that could not be found out.

    ``git`` is a commit, with ``-dirty`` behind it where tracked files had changes; ``cores`` are
    those the process may use; ``ram_gb`` is 10^9 bytes; times are ISO 8601 with their zone.
    ``processor`` is its family with the vector instructions that torch uses, ``device`` is ``cpu``
    or the name of the GPU of the job, ``harness`` the digest of the sources that can change a
    record. See ``environment`` for what they decide.
    """

    mpqbench: str
    python: str
    torch: str | None = None
    diffusers: str | None = None
    numpy: str | None = None
    torch_fidelity: str | None = None
    git: str | None = None
    platform: str
    cpu: str | None = None
    cores: Count | None = None
    ram_gb: Amount | None = None
    gpu: str | None = None
    threads: int | None = None
    processor: str | None = None
    device: str | None = None
    harness: str | None = None
    started: Time
    finished: Time


class JobRecord(RecordPart):
    """The result row of one job.

    ``fingerprint`` identifies everything that changes the result, ``metric_fingerprint`` what the
    scores can be compared with (extractor, N, reference, protocol). ``seconds`` is wall time per
    stage, ``search_evals`` is in full forwards of the calibration set. Anything but ``done`` has a
    ``reason``; a ``done`` job has costs and a metric fingerprint. ``notes`` are sentences on what
    was skipped, replaced or given up on the way to a result, such as a search that fell back.
    ``files`` are the digests of the files that a job that is done left beside its record, by their
    paths in the folder of the run.
    ``format`` is the class of the formats; older records and full precision have none.
    ``recipe_digest`` identifies the recipe and the code of its plugins, ``model_digest`` the
    weights and configuration of the model; older records lack both. ``seed`` is that of what was
    measured, ``realization`` numbers the quantized models; older records are the first, 0.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    job: str = Field(pattern=JOB_PATTERN)
    fingerprint: str = Field(min_length=1)
    metric_fingerprint: str | None = None
    status: Status
    reason: Text = ""
    notes: tuple[Text, ...] = ()
    model: str = Field(min_length=1)
    method: str = Field(min_length=1)
    budget: BudgetText
    format: str = ""
    seed: int = Field(ge=-MOST, le=MOST)
    realization: Count = 0
    recipe: JsonSettings
    recipe_digest: str | None = None
    model_digest: str | None = None
    protocol: JsonSettings
    allocation: AllocationSummary | None = None
    extractor: str | None = None
    n_images: Count = 0
    scores: dict[Metric, Score] = Field(default_factory=dict)
    costs: Costs | None = None
    search_evals: Amount = 0.0
    seconds: dict[str, Number] = Field(default_factory=dict)
    peak_mb: Amount = 0.0
    files: dict[FileName, str] = Field(default_factory=dict)
    provenance: Provenance

    @property
    def is_full_precision(self) -> bool:
        """Whether this is the unquantized model: the reference of every pair."""
        return self.method == FULL_METHOD

    @model_validator(mode="after")
    def _tells_the_whole_story(self) -> Self:
        if self.status != "done":
            if not self.reason.strip():
                raise ValueError(f"status '{self.status}' needs a reason")
            return self
        needed = ("costs", "metric_fingerprint", "n_images")
        missing = [name for name in needed if not getattr(self, name)]
        if missing:
            raise ValueError(f"status 'done' needs {', '.join(missing)}")
        return self
