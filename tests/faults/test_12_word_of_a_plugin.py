"""What a plugin says of bits and costs is verified in every job."""

import pytest
from plugin_runs import run_methods

LIARS = """
def rounded(weight, layer, fmt, bits):
    return Nearest().round(weight, layer, fmt, bits)

@plugin
class Floats(Rounding):
    def round(self, weight, layer, fmt, bits):
        made = rounded(weight, layer, fmt, bits)
        whole = weight / made.scale.repeat_interleave(weight.shape[1] // made.scale.shape[1], 1)
        return replace(made, integers=whole)

@plugin
class MoreBits(Rounding):
    def round(self, weight, layer, fmt, bits):
        return replace(rounded(weight, layer, fmt, 8), bits=bits)

@plugin
class Finer(Rounding):
    def round(self, weight, layer, fmt, bits):
        pairs = fmt.model_copy(update={"granularity": "group", "group": 2})
        return rounded(weight, layer, pairs, bits)

class Sneaky(QuantizedWeight):
    def dequantize(self):
        return super().dequantize() + 0.001

@plugin
class OffGrid(Rounding):
    def round(self, weight, layer, fmt, bits):
        return Sneaky(**vars(rounded(weight, layer, fmt, bits)))

@plugin
class Halves(Rounding):
    def round(self, weight, layer, fmt, bits):
        made = rounded(weight, layer, fmt, bits)
        return replace(made, zero=made.zero + 0.5)

class Dense(torch.nn.Module):
    def __init__(self, matrix, size):
        super().__init__()
        self.matrix, self.size = torch.nn.Parameter(matrix, requires_grad=False), size
    def forward(self, x):
        return x @ self.matrix.T
    def dense(self):
        return self.matrix

@plugin
class OneNumber(Branch):
    macs: int = 1
    def size(self, out_features, in_features):
        return BranchSize(1, out_features * in_features if self.macs == 0 else self.macs)
    def fit(self, target, layer):
        return Dense(target.clone(), self.size(*target.shape))

class Rotated:
    def __init__(self, matrix):
        self.matrix = matrix
    def weight(self, weight):
        return weight @ self.matrix
    def input(self, x):
        return x @ self.matrix

@plugin
class FreeRotation(Transform):
    def fit(self, weight, layer):
        generator = torch.Generator().manual_seed(layer.seed)
        square = torch.randn(weight.shape[1], weight.shape[1], generator=generator)
        return Rotated(torch.linalg.qr(square).Q)

class Shape:
    rows, stopped = [], "steps"
    def write(self, path):
        pass

@plugin
class Drifts(Tuner):
    trajectories: int = 2
    held_out: int = 2
    what: str = "weight"
    def tune(self, student, data):
        path, layer = next(iter(student.layers.items()))
        if self.what == "weight":
            layer.weight.add_(1e-3)
        elif self.what == "input":
            layer.source.activation = None
        elif self.what == "hook":
            layer.register_forward_hook(lambda m, x, y: y)
        else:
            layer.branch = Dense(torch.zeros(layer.weight.shape), BranchSize(1, 1))
        return Shape()

PLUGINS = {
    "rounding": {"floats": Floats, "more-bits": MoreBits, "finer": Finer, "off-grid": OffGrid,
                 "halves": Halves},
    "branch": {"one-number": OneNumber},
    "transform": {"free-rotation": FreeRotation},
    "tuner": {"drifts": Drifts},
}
"""
FAULTS = {
    "rounding: floats": "integers is torch.float32",
    "rounding: more-bits": "4 bits hold",
    "rounding: finer": "numbers, the format",
    "rounding: off-grid": "dequantize() differs",
    "rounding: halves": "zero points must be whole numbers",
    "branch: one-number": "1 multiplications and 0 additions are declared",
    "branch: {name: one-number, macs: 0}, branch_in_budget: false": "the branch holds",
    "transform: free-rotation": "0 multiplications and 0 additions are declared",
    "tuner: drifts": "off its grid",
    "tuner: {name: drifts, what: input}": "changed how its input is quantized",
    "tuner: {name: drifts, what: hook}": "changed how its input is quantized",
    "tuner: {name: drifts, what: branch}": "its branch is not counted",
}


def test_no_false_word_is_done(mpqbench, tmp_path, tiny_folder):
    methods = [f"{{base: rtn, name: m{i}, {slot}}}" for i, slot in enumerate(FAULTS)]
    _, text, records = run_methods(mpqbench, tmp_path, tiny_folder, [*methods, "rtn"], LIARS)
    assert records["rtn"]["status"] == "done", text
    wrong = {}
    for i, (slot, reason) in enumerate(FAULTS.items()):
        found = records[f"m{i}"]
        named = (
            "layer transformer_blocks.0" in found["reason"] or "layer blocks.0" in (found["reason"])
        )
        if found["status"] != "failed" or reason not in found["reason"] or not named:
            wrong[slot] = found["status"], found["reason"]
    assert wrong == {}


@pytest.mark.parametrize("base", ["gptq", "quarot", "vidit-q", "awq"])
def test_what_is_true_is_done(mpqbench, tmp_path, tiny_folder, base):
    code, text, records = run_methods(mpqbench, tmp_path, tiny_folder, [base])
    assert code == 0, text
    assert {record["status"] for record in records.values()} == {"done"}
