"""What a plugin author implements: one base class per kind.

A plugin is a class with the decorator ``plugin`` and the base class of its kind. Its fields are its
parameters; what it can do (``needs_inputs``, ``by_block``, ...) is an attribute of the base class
with a default. A module registers it in a table ``PLUGINS`` (``mpqbench.core.registry``).
"""

from .base import plugin
from .corrections import (
    Correction,
    CorrectionSize,
    CorrectionStep,
    FittedCorrection,
    Mixture,
    Prediction,
)
from .layers import (
    BlockData,
    Branch,
    BranchSize,
    FittedBranch,
    FittedTransform,
    LayerData,
    Operations,
    QuantizedWeight,
    Rounding,
    Transform,
    TransformSize,
)
from .network import (
    Environment,
    GroupAtPrecision,
    Network,
    Objective,
    QuantizableGroup,
    Sensitivity,
)
from .search import Searcher, SearchProblem
from .tuning import Curve, DistillationData, Recorded, Student, Tuner

__all__ = [
    "BlockData", "Branch", "BranchSize", "Correction", "CorrectionSize", "CorrectionStep",
    "Curve", "DistillationData", "Environment", "FittedBranch", "FittedCorrection",
    "FittedTransform", "GroupAtPrecision", "LayerData", "Mixture", "Network", "Objective",
    "Operations", "Prediction", "QuantizableGroup", "QuantizedWeight", "Recorded", "Rounding",
    "SearchProblem", "Searcher", "Sensitivity", "Student", "Transform", "TransformSize", "Tuner",
    "plugin",
]  # fmt: skip
