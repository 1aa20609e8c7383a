"""Feature networks by name; each module is imported only when its network is asked for."""

from importlib import import_module
from pathlib import Path

from ..core.errors import BenchError, unknown
from .features import FeatureNetwork

EXTRACTORS = {
    "fashion": "fashion_net:FashionNetwork",
    "inception-adm": "inception:InceptionNetwork",
    "clean-fid": "clean_fid:CleanFidNetwork",
}


def load_extractor(
    name: str, weights: str | Path | None = None, device: str = "cpu"
) -> FeatureNetwork:
    """Load the feature network ``name``, with its own weights or those of the file ``weights``.

    ``fashion`` ships with the package; ``inception-adm`` and ``clean-fid`` download their weights
    once where no file is given. Raises BenchError for an unknown name, a missing or unsuitable
    file, a failed download, a missing package and a device that this machine lacks.
    """
    if name not in EXTRACTORS:
        raise unknown("feature network", name, EXTRACTORS)
    path = None if weights is None else Path(weights)
    if path is not None and not path.is_file():
        raise BenchError(f"{path} does not exist: --feature-weights takes a file of weights")
    module, _, network = EXTRACTORS[name].partition(":")
    return getattr(import_module(f".{module}", __package__), network)(path, device)
