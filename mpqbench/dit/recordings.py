"""Recordings of a full-precision model, made once for all jobs of one protocol and seed."""

from collections.abc import Callable
from functools import cached_property, partial

from ..core.cache import Cache
from ..core.protocol import Protocol
from ..core.settings import digest_of
from ..core.sources import harness_digest
from .architectures import architecture_of
from .calibration import CalibrationSet, HeldOut, evaluate, record_calibration, record_spans
from .loading import DiTModel
from .sampling import Sampler
from .statistics import StatisticsStore

# Folders of the harness that a recording does not depend on.
_OTHERS = ("cost", "job", "metrics", "quant", "records", "search", "tuning")


class Recordings:
    """Calibration inputs, their statistics in every layer, and held-out inputs.

    The model must be in full precision whenever something is recorded that the cache lacks.
    ``sampler_of`` gives a sampler of the model for an axis of noise.
    """

    def __init__(
        self, model: DiTModel, protocol: Protocol, seed: int, device: str, cache: Cache
    ) -> None:
        self.model, self.protocol = model, protocol
        self.sampler_of = partial(Sampler, model, protocol, seed, device)
        kind = device.partition(":")[0]
        self.fingerprint = digest_of(
            [harness_digest(_OTHERS), model.digest, protocol.sampling(), seed, kind]
        )
        self.cache = cache.at("calibration", self.fingerprint)
        self._spans: dict[int, CalibrationSet] = {}

    @cached_property
    def statistics(self) -> StatisticsStore:
        """The statistics of the calibration inputs."""
        return self._gathered("calibration", lambda: self._record("calibration"))

    @cached_property
    def held_out_statistics(self) -> StatisticsStore:
        """The statistics of the held-out inputs."""
        return self._gathered("held-out", lambda: self.held_out.inputs)

    @cached_property
    def held_out(self) -> HeldOut:
        """As many inputs as calibration has, from other noise, with full precision's outputs."""

        def make() -> dict[str, object]:
            inputs = self._record("held-out")
            outputs = evaluate(self.model.transformer, inputs, self.protocol.micro_batch)
            return {**vars(inputs), "outputs": outputs}

        content = self.cache.get("held-out", make)
        outputs = content.pop("outputs")
        return HeldOut(CalibrationSet(**content), outputs)

    def inputs(self, span: int = 1) -> CalibrationSet:
        """Return the calibration inputs; with ``span`` above 1 those of ``record_spans``."""
        if span == 1:
            return self.statistics.calibration()
        if span not in self._spans:
            self._spans[span] = record_spans(self.sampler_of("calibration-spans"), span)
        kept = vars(self._spans[span])
        return CalibrationSet(**{name: part.clone() for name, part in kept.items()})

    def _gathered(self, axis: str, record: Callable[[], CalibrationSet]) -> StatisticsStore:
        store, transformer = StatisticsStore(self.cache.at(axis)), self.model.transformer
        blocks = len(architecture_of(transformer).blocks(transformer))
        if not store.complete(blocks):
            inputs = record()
            with self.cache.reporter.stage(f"gathering {axis} statistics", blocks) as advance:
                store.gather(transformer, inputs, self.protocol.micro_batch, advance)
        return store

    def _record(self, axis: str) -> CalibrationSet:
        title = f"recording {axis} inputs"
        with self.cache.reporter.stage(title, self.protocol.calibration) as advance:
            return record_calibration(self.sampler_of(axis), advance)
