"""What every rounding promises."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch

from ..contracts import LayerData, QuantizedWeight, Rounding
from ..core.formats import grid_count
from ..quant.affine import quantize_weight
from .blocks import BlockChecks
from .check import Check, attempt, check_of, devices, expect, own_generators_only, unmodified
from .layers import Case, cases
from .models import check_in_a_model

ERROR_BOUND = 1.05  # our choice: greedy methods may lose a little on single layers
SAME = 1e-6


class RoundingChecks:
    """The checks of one rounding; results are shared between them."""

    def __init__(self, plugin: Rounding, quick: bool) -> None:
        self.plugin = plugin
        self.needs_inputs = plugin.needs_inputs
        self.cases = cases(quick)
        self.few = cases(quick=True)
        self._results: dict[Case, QuantizedWeight] = {}

    def all(self) -> list[Check]:
        """All checks, with those of a whole block where the plugin rounds by block."""
        methods = [self.shapes, self.bits, self.grids, self.values, self.finite, self.deterministic]
        methods += [self.arguments, self.idempotent, self.error, self.device, self.model]
        found = [check_of(method) for method in methods]
        if self.plugin.by_block:
            found += BlockChecks(self.plugin, self._error_bound()).all()
        return found

    def shapes(self) -> None:
        """Integers, scales and zero points have the shapes and types of the contract."""
        for case in self.cases:
            result, (out, width) = self._rounded(case), case.layer.weight.shape
            integers, scale, zero = result.integers, result.scale, result.zero
            expect(
                integers.shape == (out, width) and integers.dtype == torch.int16,
                f"{case}: integers are {_kind(integers)}, not int16 {(out, width)}",
            )
            for name, part in (("scale", scale), ("zero", zero)):
                fits = part.ndim == 2 and part.shape[0] in (1, out) and width % part.shape[1] == 0
                expect(
                    fits and part.dtype == torch.float32,
                    f"{case}: {name} is {_kind(part)}, not float32 (out or 1, groups)",
                )
            expect(
                scale.shape == zero.shape,
                f"{case}: scale is {tuple(scale.shape)} and zero {tuple(zero.shape)}: "
                "they must have one shape",
            )

    def bits(self) -> None:
        """Integers and zero points fit in the bits that were asked for."""
        for case in self.cases:
            result = self._rounded(case)
            expect(
                result.bits == case.bits,
                f"{case}: the result says it has {result.bits} bits, not {case.bits}",
            )
            expect_range(case, "integers", result.integers, case.bits)
            zero = result.zero
            expect(torch.equal(zero, zero.round()), f"{case}: zero points must be whole numbers")
            expect_range(case, "zero points", zero, case.bits)
            expect(
                not (case.fmt.symmetric and zero.any()),
                f"{case}: a symmetric format has zero points 0, not {zero.abs().max():g}",
            )

    def grids(self) -> None:
        """There are as many scales as the format has grids, and no more levels than 2^bits."""
        for case in self.cases:
            result, (out, width) = self._rounded(case), case.layer.weight.shape
            honest = grid_count(out, width, case.fmt, str(case))
            expect(
                result.scale.numel() == result.zero.numel() == honest,
                f"{case}: there are {result.scale.numel()} scales and {result.zero.numel()} zero "
                f"points where the format has {honest} grids",
            )

    def values(self) -> None:
        """``dequantize()`` gives ``scale * (integers - zero)``, which is what the bytes hold."""
        for case in self.cases:
            result = self._rounded(case)
            columns = case.layer.width // result.scale.shape[1]
            scale, zero = (
                part.repeat_interleave(columns, 1).expand(case.layer.weight.shape)
                for part in (result.scale, result.zero)
            )
            stored = scale * (result.integers - zero)
            given = result.dequantize()
            expect(
                _close(given.nan_to_num(), stored.nan_to_num(), SAME),
                f"{case}: dequantize() gives other numbers than scale * (integers - zero)",
            )

    def finite(self) -> None:
        """Every finite weight has a finite result, however hostile."""
        for case in self.cases:
            result = self._rounded(case)
            for name in ("scale", "zero"):
                bad = (~getattr(result, name).isfinite()).sum()
                expect(bad == 0, f"{case}: {bad} numbers of {name} are not finite")
            bad = (~result.dequantize().isfinite()).sum()
            expect(bad == 0, f"{case}: {bad} rounded weights are not finite")

    def deterministic(self) -> None:
        """One layer and seed give one result, and global random generators are left alone."""
        for case in self.few:
            pair = []
            for seed in (1, 2):
                with own_generators_only(case, seed):
                    pair.append(self._round(case))
            same = all(
                torch.equal(*(getattr(result, name).nan_to_num() for result in pair))
                for name in ("integers", "scale", "zero")
            )
            expect(same, f"{case}: two runs with one layer.seed differ; they must be identical")

    def arguments(self) -> None:
        """The weight and the layer's data are not written into."""
        for case in self.few:
            weight, data = case.layer.weight.clone(), self._data(case)
            with unmodified(case, weight=weight, layer=data):
                self._call(case, weight, data)

    def idempotent(self) -> None:
        """What is already rounded stays as it is, in the same format and bits.

        Rounded by the plugin itself, or by nearest rounding on the min-max grid: one of the two
        must hold throughout (GPTQ keeps the second only, powers of two the first). A plugin that
        clips again each time states ``idempotent = False``; then a second rounding must move the
        weight no further than the first one did.
        """
        chosen = [case for case in self.cases if _usual(case)]
        if not self.plugin.idempotent:
            self._drifts_no_further(chosen)
            return
        own = self._moved(chosen, lambda case: self._rounded(case).dequantize())
        nearest = own and self._moved(chosen, lambda case: _nearest(case).dequantize())
        expect(not own or not nearest, f"{own}, and it should be the same to {SAME:g}")

    def error(self) -> None:
        """On ordinary layers the error is within the stated bound of nearest rounding's."""
        bound = self._error_bound()
        measure = "output" if self.needs_inputs else "weight"
        for case in filter(_usual, self.cases):
            ours, nearest = (self._error(case, r) for r in (self._rounded(case), _nearest(case)))
            expect(
                ours <= bound * nearest,
                f"{case}: squared {measure} error {ours:.4g} is {ours / nearest:.3g} times nearest "
                f"rounding's; its error_bound allows {bound:g}",
            )

    def device(self) -> None:
        """Results are on the device of the weight."""
        for device in devices():
            case = self.few[-1]
            result = self._round(case, device=device)
            for name in ("integers", "scale", "zero"):
                found = getattr(result, name).device
                expect(
                    found.type == device.type,
                    f"{case}: {name} is on {found}, the weight on {device}",
                )

    def model(self) -> None:
        """In a model it costs what its format says, and removal leaves no trace."""
        check_in_a_model(rounding=self.plugin)

    def _rounded(self, case: Case) -> QuantizedWeight:
        if case not in self._results:
            self._results[case] = self._round(case)
        return self._results[case]

    def _round(
        self,
        case: Case,
        weight: torch.Tensor | None = None,
        device: torch.device | str = "cpu",
    ) -> QuantizedWeight:
        given = case.layer.weight if weight is None else weight
        return self._call(case, given.to(device, copy=True), self._data(case, device))

    def _call(self, case: Case, weight: torch.Tensor, data: LayerData) -> QuantizedWeight:
        with torch.no_grad():
            result = attempt(
                case, "round", lambda: self.plugin.round(weight, data, case.fmt, case.bits)
            )
        expect(
            isinstance(result, QuantizedWeight),
            f"{case}: round gave a {type(result).__name__}, not a QuantizedWeight",
        )
        return result

    def _data(self, case: Case, device: torch.device | str = "cpu") -> LayerData:
        return case.layer.data(self.needs_inputs, case.fmt, case.bits, device=device)

    def _error_bound(self) -> float:
        return float(self.plugin.error_bound)

    def _error(self, case: Case, result: QuantizedWeight) -> float:
        """Squared error of the outputs where the plugin knows the inputs, else of the weight."""
        difference = (result.dequantize() - case.layer.weight).double()
        if not self.needs_inputs:
            return float(difference.square().sum())
        x = case.layer.inputs.double()
        return float((x @ difference.T).square().sum() / len(x))

    def _moved(self, chosen: Iterable[Case], start: Callable[[Case], torch.Tensor]) -> str:
        """A sentence on the first case where rounding ``start`` again changes it, or nothing."""
        for case in chosen:
            first = start(case)
            again = self._round(case, first).dequantize()
            if not _close(again, first, SAME):
                far = float((again - first).norm() / first.norm())
                return f"{case}: rounding what is rounded moves it by {far:.2g} of its size"
        return ""

    def _drifts_no_further(self, chosen: Iterable[Case]) -> None:
        for case in chosen:
            first = self._rounded(case).dequantize()
            second = self._round(case, first).dequantize()
            moved, before = (second - first).norm(), (first - case.layer.weight).norm()
            expect(
                moved <= before,
                f"{case}: a second rounding moves the weight by {moved:.3g}, the first one did by "
                f"{before:.3g}; it should move it less",
            )


def _usual(case: Case) -> bool:
    return not case.layer.hostile


def _nearest(case: Case) -> QuantizedWeight:
    return quantize_weight(case.layer.weight, case.fmt, case.bits, str(case))


def _close(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float) -> bool:
    return bool((ours - theirs).norm() <= tolerance * theirs.norm())


def _kind(tensor: torch.Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def expect_range(where: object, what: str, numbers: torch.Tensor, bits: int) -> None:
    """Unless ``numbers`` fit in ``bits`` bits, with a sign or without, AssertionError."""
    lowest, highest = (int(end) for end in numbers.aminmax())
    half = 2 ** (bits - 1)
    fits = (lowest >= 0 and highest < 2 * half) or (lowest >= -half and highest < half)
    expect(
        fits,
        f"{where}: {what} run from {lowest} to {highest}; {bits} bits hold {-half} to {half - 1} "
        f"or 0 to {2 * half - 1}",
    )
