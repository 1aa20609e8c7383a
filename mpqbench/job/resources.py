"""What jobs of one process share: loaded models, the feature network, references, calibration."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core.errors import BenchError
from ..core.progress import Quiet, Reporter
from ..core.recipe import Protocol, digest_of
from ..core.registry import Registry
from ..dit.calibration import CalibrationSet, record_calibration, record_spans
from ..dit.convention import apply_convention
from ..dit.held_out import HeldOut, held_out
from ..dit.loading import DiTModel, load_model
from ..dit.sampling import DTYPES
from ..dit.statistics import FORMAT, StatisticsStore
from ..metrics.extractors import load_extractor
from ..metrics.features import FeatureNetwork
from ..metrics.reference import Reference, load_reference
from ..search.table_store import TableStore
from .search_result import SearchStore

NO_FEATURES = "none"  # a run that measures fidelity and cost alone


@dataclass(frozen=True)
class Judge:
    """The feature network and the reference of a protocol."""

    network: FeatureNetwork
    reference: Reference


@dataclass
class Resources:
    """Loads each thing once. A quantized model is restored after its job, so it can be shared.

    Calibration statistics lie in ``folder``, or in a temporary one that ends with the process.
    """

    registry: Registry
    device: str = "cpu"
    batch_size: int = 500  # images sampled and written at a time; changes none of them
    folder: Path | None = None
    _kept: dict[Any, Any] = field(default_factory=dict)

    def check_device(self) -> None:
        """Raises BenchError where the device is not there."""
        import torch

        try:
            torch.empty(1, device=self.device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise BenchError(f"device '{self.device}' cannot be used: {reason}") from None

    def model(self, name: str, protocol: Protocol) -> DiTModel:
        """The model on the device in the protocol's type and convention; one is kept."""
        key = ("model", name)
        if key not in self._kept:
            for other in [k for k in self._kept if k[0] in ("model", "statistics")]:
                del self._kept[other]
            self._kept[key] = load_model(name)
        model = self._kept[key].to(self.device, DTYPES[protocol.dtype])
        apply_convention(model.transformer, protocol.convention)
        return model

    def judge(self, protocol: Protocol) -> Judge | None:
        """Network and reference, or ``None`` where the protocol asks for no features."""
        if protocol.features == NO_FEATURES:
            return None
        key = ("judge", protocol.features, protocol.feature_weights, protocol.reference)
        if key not in self._kept:
            network = load_extractor(protocol.features, protocol.feature_weights, self.device)
            reference = load_reference(protocol.reference, network)
            self._kept[key] = Judge(network, reference)
        return self._kept[key]

    def check_images(self, name: str, protocol: Protocol) -> None:
        """Raises BenchError, before anything is sampled, where the judge cannot see the images."""
        judge, model = self.judge(protocol), self.model(name, protocol)
        wanted = None if judge is None else judge.network.image_shape
        if wanted is not None and wanted != model.image_shape:
            shapes = ["x".join(map(str, shape)) for shape in (wanted, model.image_shape)]
            raise BenchError(
                f"features '{protocol.features}' are of {shapes[0]} images, model '{name}' makes "
                f"{shapes[1]}: choose other features with --features, or 'none'"
            )

    def statistics(
        self, model: DiTModel, protocol: Protocol, seed: int, reporter: Reporter | None = None
    ) -> StatisticsStore:
        """What calibration sees at every layer: gathered once per model, protocol and seed.

        The model must be in full precision.
        """
        mark = self.statistics_mark(model, protocol, seed)
        key = ("statistics", mark)
        if key not in self._kept:
            store = StatisticsStore(self.calibration_folder() / mark)
            if not store.complete():
                self._gather(store, model, protocol, seed, reporter or Quiet())
            self._kept[key] = store
        return self._kept[key]

    def calibration_inputs(
        self, model: DiTModel, protocol: Protocol, seed: int, span: int = 1
    ) -> CalibrationSet:
        """The inputs of the statistics, or those of ``record_spans`` where ``span`` is not 1.

        The model must be in full precision.
        """
        if span == 1:
            return self.statistics(model, protocol, seed).calibration()
        key = ("statistics", "spans", span, self.statistics_mark(model, protocol, seed))
        if key not in self._kept:
            self._kept[key] = record_spans(model, protocol, seed, self.device, span)
        return self._kept[key]

    def tables(self) -> TableStore:
        """Where additive tables of searches are kept."""
        return TableStore(self.calibration_folder() / "tables")

    def searches(self) -> SearchStore:
        """Where finished searches are kept."""
        return SearchStore(self.calibration_folder() / "searches")

    def held_out(
        self, model: DiTModel, protocol: Protocol, seed: int, reporter: Reporter | None = None
    ) -> HeldOut:
        """As many inputs as calibration has, from noise of their own, and full precision's outputs.

        The model must be in full precision where they are not on disk yet.
        """
        mark = self.statistics_mark(model, protocol, seed)
        key = ("statistics", "held-out", mark)
        reporter = reporter or Quiet()

        def record() -> CalibrationSet:
            with reporter.stage("recording held-out inputs", protocol.calibration) as advance:
                return record_calibration(
                    model, protocol, seed, self.device, advance, axis="held-out"
                )

        if key not in self._kept:
            path = self.calibration_folder() / mark / "held-out.safetensors"
            batch = protocol.micro_batch
            self._kept[key] = held_out(path, model.transformer, record, batch, self.device)
        return self._kept[key]

    def _gather(
        self, store: StatisticsStore, model: DiTModel, protocol: Protocol, seed: int,
        reporter: Reporter,
    ) -> None:  # fmt: skip
        with reporter.stage("recording calibration inputs", protocol.calibration) as advance:
            inputs = record_calibration(model, protocol, seed, self.device, advance)
        transformer = model.transformer
        blocks = len(transformer.transformer_blocks)
        with reporter.stage("gathering calibration statistics", blocks) as advance:
            store.gather(transformer, inputs, protocol.micro_batch, self.device, advance)

    def statistics_mark(self, model: DiTModel, protocol: Protocol, seed: int) -> str:
        """Digest of everything the statistics depend on."""
        judging = {"name", "images", "features", "feature_weights", "reference"}
        sampling = protocol.model_dump(mode="json", exclude=judging)
        device = self.device.partition(":")[0]
        return digest_of([FORMAT, model.digest, sampling, seed, device])

    def calibration_folder(self) -> Path:
        """Where everything lies that is computed once for all methods."""
        if self.folder is not None:
            return self.folder
        if "temporary" not in self._kept:
            self._kept["temporary"] = tempfile.TemporaryDirectory(prefix="mpqbench-")
        return Path(self._kept["temporary"].name)
