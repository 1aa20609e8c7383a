"""Shared by the tests that lie to the checks."""

from __future__ import annotations

from mpqbench.conformance import checks
from mpqbench.quant.affine import quantize_weight


def broken(kind, plugin, only=()):
    """Names of the checks that fail, with their sentences; of all, or of those in ``only``."""
    found = {}
    for check in checks(kind, plugin):
        if only and check.name not in only:
            continue
        try:
            check()
        except AssertionError as error:
            found[check.name] = str(error)
    return found


class Liar:
    """Nearest rounding, except on layers whose name starts with ``on``."""

    needs_inputs = False
    on = "ordinary"

    def round(self, weight, layer, fmt, bits):
        honest = quantize_weight(weight, fmt, bits, layer.name)
        if not layer.name.startswith(self.on):
            return honest
        return self.lie(honest, weight, layer, fmt, bits)
