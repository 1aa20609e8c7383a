"""Models, feature networks and references, loaded once for all jobs of a process."""

from dataclasses import dataclass, field
from pathlib import Path

from ..core.cache import Cache
from ..core.errors import BenchError
from ..core.protocol import Protocol
from ..dit.loading import DiTModel, load_model
from ..dit.prompt_files import give_prompts, given_table
from ..dit.sampling import DTYPES, Sampler
from ..dit.state import ModelState
from ..metrics.clip_score import ClipScorer
from ..metrics.features import FeatureNetwork, load_extractor
from ..metrics.images import size_text
from ..metrics.perceptual import PerceptualDistance
from ..metrics.reference import Reference, load_reference

NO_FEATURES = "none"  # a protocol that measures fidelity and cost alone


@dataclass(frozen=True)
class Evaluator:
    """The feature network and the reference of a protocol."""

    network: FeatureNetwork
    reference: Reference


@dataclass
class Loader:
    """Load onto ``device``. One model is kept: every job restores it.

    Embeddings of prompts are kept in ``cache``.
    """

    device: str
    cache: Cache | None = None
    _model: DiTModel | None = None
    _of: tuple[str | None, ...] | None = None
    _states: tuple[ModelState, ...] = ()
    _evaluators: dict[tuple[str | None, ...], Evaluator] = field(default_factory=dict)
    _lpips: dict[str, PerceptualDistance] = field(default_factory=dict)
    _clips: dict[str, ClipScorer] = field(default_factory=dict)

    def model(self, name: str, protocol: Protocol) -> DiTModel:
        """Return the model in the type and convention of the protocol."""
        wanted = (name, protocol.dtype, protocol.prompts, protocol.prompt_embeddings)
        if self._model is None or self._of != wanted:
            self._model, self._states = None, ()  # free one model before the next one is read
            prompts = given_table(name, protocol, self.cache)
            self._model = load_model(name).to(self.device, DTYPES[protocol.dtype])
            give_prompts(self._model, prompts)
            self._of = wanted
        self._model.configure(protocol)
        return self._model

    def watch(self, name: str, protocol: Protocol) -> None:
        """Note the state of the model, which the job that begins must leave as it is."""
        model = self.model(name, protocol)
        for state in self._states:
            state.accept_settings()
        if not self._states:
            parts = {"transformer": model.transformer, "autoencoder": model.vae}
            self._states = tuple(ModelState(part, name) for name, part in parts.items())

    def changes(self) -> list[str]:
        """Name what is not as ``watch`` found it; the model is then loaded anew for the next job.

        Without a change nothing is loaded.
        """
        found = [change for state in self._states for change in state.changes()]
        if found:
            self._model, self._states = None, ()
        return found

    def evaluator(self, protocol: Protocol) -> Evaluator | None:
        """Return network and reference, ``None`` where the protocol asks for no features."""
        if protocol.features == NO_FEATURES:
            return None
        key = (protocol.features, protocol.feature_weights, protocol.reference)
        if key not in self._evaluators:
            network = load_extractor(protocol.features, protocol.feature_weights, self.device)
            reference = load_reference(protocol.reference, network)
            self._evaluators[key] = Evaluator(network, reference)
        return self._evaluators[key]

    def lpips(self, protocol: Protocol) -> PerceptualDistance | None:
        """Return the network of LPIPS, ``None`` where the protocol gives no weights of it."""
        path = protocol.lpips_weights
        if path is not None and path not in self._lpips:
            self._lpips[path] = PerceptualDistance(Path(path), self.device)
        return None if path is None else self._lpips[path]

    def clip(self, protocol: Protocol) -> ClipScorer | None:
        """Return the network of the CLIP score, ``None`` where the protocol gives none."""
        path = protocol.clip
        if path is not None and path not in self._clips:
            self._clips[path] = ClipScorer(Path(path), self.device)
        return None if path is None else self._clips[path]

    def extractor(self, protocol: Protocol) -> str:
        """Return what a record calls the feature network, other weights by their digest."""
        evaluator = self.evaluator(protocol)
        return NO_FEATURES if evaluator is None else evaluator.network.title

    def check(self, name: str, protocol: Protocol) -> None:
        """Raise BenchError where the protocol cannot sample from the model or judge its images."""
        model = self.model(name, protocol)
        try:
            Sampler(model, protocol, seed=0, device=self.device)
        except BenchError as error:
            raise BenchError(f"model '{name}': {error}") from None
        self._check_networks(model, protocol)
        evaluator = self.evaluator(protocol)
        wanted = None if evaluator is None else evaluator.network.image_shape
        if wanted is not None and wanted != model.image_shape:
            raise BenchError(
                f"features '{protocol.features}' are of {size_text(wanted)} images, model '{name}' "
                f"makes {size_text(model.image_shape)}: choose other features with --features, or "
                "'none'"
            )

    def _check_networks(self, model: DiTModel, protocol: Protocol) -> None:
        """Load the networks of LPIPS and the CLIP score. Raises BenchError without prompts."""
        self.lpips(protocol)
        if self.clip(protocol) is not None and model.texts is None:
            raise BenchError(
                f"model '{model.name}' has no texts of prompts, which the CLIP score needs: leave "
                "--clip out, or give --prompts, or --prompt-embeddings with texts in its metadata"
            )
