"""Protocols: how images are made and measured."""

from typing import Any, Literal

from pydantic import Field

from .settings import MOST_NAME, SAFE_NAME, Frozen, Number, Whole


class Protocol(Frozen):
    """How images are made and measured. Rows of different protocols are never ranked together.

    ``sampler`` and ``features`` may be ``own``, and ``guidance`` may be ``None``: a job replaces
    these by what is usual for its model.
    ``prompts`` is a file with a prompt on each line, ``prompt_embeddings`` one of safetensors.
    ``lpips_weights`` is a file of AlexNet's weights, ``clip`` the folder of a CLIP.
    ``image_size`` are the pixels of a side, ``None`` for the model's own size. ``compiled`` says
    whether images are sampled by compiled kernels or what torch.compile makes of the transformer,
    which changes last bits.
    """

    name: str = Field(pattern=SAFE_NAME, max_length=MOST_NAME)
    images: Whole = Field(gt=0, le=10_000_000)
    sampler: Literal["own", "ddim", "ddpm", "euler"] = "ddim"
    steps: Whole = Field(gt=0, le=1000)
    guidance: Number | None = Field(default=1.5, ge=1.0, le=1000)
    convention: Literal["original", "diffusers"] = "original"
    micro_batch: Whole = Field(default=50, gt=0, le=100_000)
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    features: str = "fashion"
    feature_weights: str | None = None
    reference: str = "embedded"
    prompts: str | None = None
    prompt_embeddings: str | None = None
    lpips_weights: str | None = None
    clip: str | None = None
    image_size: Whole | None = Field(default=None, gt=0, le=65_536)
    compiled: bool = False
    calibration: Whole = Field(default=64, gt=0, le=1_000_000)

    def sampling(self) -> dict[str, Any]:
        """Return the fields that decide the pixels of an image, as JSON."""
        measuring = {"name", "images", "features", "feature_weights", "reference", *NETWORKS}
        hidden = measuring | PROMPTS | self.unsaid  # prompts are in the model's digest
        return self.model_dump(mode="json", exclude=hidden)

    @property
    def unsaid(self) -> set[str]:
        """Fields that no fingerprint has while they are not set: records are older than these."""
        return {name for name in ("image_size", "compiled") if not getattr(self, name)}


PROMPTS = {"prompts", "prompt_embeddings"}
NETWORKS = {"lpips_weights", "clip"}  # of metrics that are computed only where these are given

_ADM: dict[str, Any] = {"sampler": "ddpm", "micro_batch": 16, "features": "inception-adm"}
_OWN: dict[str, Any] = {"sampler": "own", "features": "own", "guidance": None}
_IMAGENET = _ADM | {"reference": "VIRTUAL_imagenet256_labeled.npz"}
PROTOCOLS = {
    p.name: p
    for p in (
        Protocol(name="smoke", images=64, steps=4, micro_batch=32, calibration=16, **_OWN),
        Protocol(name="quick", images=1000, steps=20, **_OWN),
        Protocol(name="full", images=10_000, steps=20, **_OWN),
        Protocol(name="dit-10k", images=10_000, steps=100, **_IMAGENET),
        Protocol(name="dit-50k", images=50_000, steps=250, **_IMAGENET),
    )
}
