"""The output error of one layer in a new basis: what a searched transform minimises."""

import torch

from ..contracts import FittedTransform, LayerData
from ..core.errors import BenchError
from .activation import ActivationQuantizer
from .affine import fake_quantize, qparams_from_range, quantize_weight


class OutputError:
    """Mean over calibration rows x of ``||Q(input(x)) Q(weight(W))^T - x W^T||^2``.

    ``weight`` is W (out, in); rows, precision and formats are those of ``layer``. Rounding is to
    nearest. A side without bits stays in floating point, and so do activations where
    ``activations`` is false. A static range is that of the moved rows, over all time steps
    together. Products are in float32, squares and sums in float64.

    Raises BenchError where the layer has no calibration rows and, when called, where a group size
    does not divide the width.
    """

    def __init__(self, weight: torch.Tensor, layer: LayerData, *, activations: bool = True) -> None:
        if layer.inputs is None:
            raise BenchError(f"layer {layer.name}: an output error needs calibration inputs")
        self._weight, self._layer, self._inputs = weight, layer, layer.inputs
        self._bits = layer.precision.activation if activations else None
        with torch.no_grad():
            self._target = layer.inputs @ weight.T

    @torch.no_grad()
    def __call__(self, fitted: FittedTransform) -> float:
        """Return the error in the basis of ``fitted``; infinity where it is not a finite number."""
        layer, weight = self._layer, fitted.weight(self._weight)
        if layer.precision.weight is not None:
            bits = layer.precision.weight
            weight = quantize_weight(weight, layer.weight_format, bits, layer.name).dequantize()
        output = self._quantized_inputs(fitted) @ weight.T
        norm = torch.linalg.vector_norm(output.sub_(self._target), dtype=torch.float64)
        error = norm.square() / max(len(self._target), 1)
        return float(error.nan_to_num(nan=torch.inf))

    def _quantized_inputs(self, fitted: FittedTransform) -> torch.Tensor:
        rows, fmt = fitted.input(self._inputs), self._layer.activation_format
        if self._bits is None:
            return rows
        if not fmt.is_static:
            return ActivationQuantizer(self._bits, fmt)(rows)
        qparams = qparams_from_range(rows.min(), rows.max(), self._bits, fmt.symmetric)
        return fake_quantize(rows, qparams)
