"""A plugin that writes into what it is given changes nothing but its own copy."""

import pytest
from plugin_runs import run_methods

WRITERS = """
@plugin
class Writer(Rounding):
    needs_inputs: bool = True
    def round(self, weight, layer, fmt, bits):
        made = Nearest().round(weight.clone(), layer, fmt, bits)
        for given in (weight, layer.inputs, layer.moment, layer.times, layer.step_maxima):
            if given is not None:
                given.zero_()
        return made

@plugin
class Moves(Transform):
    needs_inputs: bool = True
    def fit(self, weight, layer):
        weight.zero_()
        layer.inputs.zero_()
        layer.moment.data.zero_()
        layer.step_maxima.numpy()[:] = 0
        return Same()

class Same:
    def weight(self, weight):
        return weight
    def input(self, x):
        return x

def layers_of_models():
    import gc
    models = [o for o in gc.get_objects() if type(o).__name__ == "DiTTransformer2DModel"]
    return [m.transformer_blocks[0].attn1.to_q for m in models if m.device.type != "meta"]

@plugin
class Reaches(Rounding):
    \"\"\"Finds the model's own weight and changes that.\"\"\"
    def round(self, weight, layer, fmt, bits):
        if layer.name == "transformer_blocks.0.attn1.to_q":
            for found in layers_of_models():
                found.weight.data.mul_(0.5)
        return Nearest().round(weight, layer, fmt, bits)

@plugin
class Scribbles(Transform):
    def fit(self, weight, layer):
        return InPlace()

class InPlace(Same):
    def input(self, x):
        return x.mul_(1.0000001)

@plugin
class Hooks(Rounding):
    def round(self, weight, layer, fmt, bits):
        if layer.name == "transformer_blocks.0.attn1.to_q":
            for found in layers_of_models():
                found.register_forward_hook(lambda m, x, y: 2 * y)
        return Nearest().round(weight, layer, fmt, bits)

PLUGINS = {
    "rounding": {"writer": Writer, "reaches": Reaches, "hooks": Hooks},
    "transform": {"moves": Moves, "scribbles": Scribbles},
}
"""
WRITER = "{base: rtn, name: writer, rounding: writer}"
MOVES = "{base: rtn, name: moves, transform: moves}"
REACHES = "{base: rtn, name: reaches, rounding: reaches}"
HOOKS = "{base: rtn, name: hooks, rounding: hooks}"
AFTER = ["{base: rtn, name: after}", "{base: gptq, name: after-gptq}"]


@pytest.fixture(scope="module")
def clean(tmp_path_factory, tiny_folder):
    """Scores without any bad plugin, by method."""
    from mpqbench.api import run

    folder = tmp_path_factory.mktemp("clean")
    return {r.method: r.scores for r in _records(run, folder, tiny_folder)}


def _records(run, folder, model):
    from plugin_runs import SMOKE

    suite = folder / "suite.yaml"
    suite.write_text(SMOKE.format(model=model, methods=", ".join(AFTER)), encoding="utf-8")
    return run(str(suite), out=folder / "out")


@pytest.mark.parametrize("bad", [WRITER, MOVES], ids=["rounding", "transform"])
def test_writing_into_arguments_harms_nobody(mpqbench, tmp_path, tiny_folder, clean, bad):
    code, text, records = run_methods(mpqbench, tmp_path, tiny_folder, [bad, *AFTER], WRITERS)
    assert code == 0, text
    assert {record["status"] for record in records.values()} == {"done"}
    same = "writer" if bad == WRITER else "moves"
    rtn = clean["after"]["output_mse"].value
    assert records[same]["scores"]["output_mse"]["value"] == rtn
    for method in ("after", "after-gptq"):
        found = records[method]["scores"]["output_mse"]["value"]
        assert found == clean[method]["output_mse"].value


@pytest.mark.parametrize("bad", [REACHES, HOOKS], ids=["weight", "hook"])
def test_a_changed_model_fails_its_job_and_is_loaded_anew(
    mpqbench, tmp_path, tiny_folder, clean, bad
):
    _, _, records = run_methods(mpqbench, tmp_path, tiny_folder, [bad, *AFTER], WRITERS)
    found = records.pop("reaches" if bad == REACHES else "hooks")
    assert found["status"] == "failed"
    assert "changed the model in full precision: layer transformer_blocks.0" in found["reason"]
    for method in ("after", "after-gptq"):
        assert records[method]["status"] == "done"
        after = records[method]["scores"]["output_mse"]["value"]
        assert after == clean[method]["output_mse"].value


def test_a_transform_that_writes_into_its_input_is_named(mpqbench, tmp_path, tiny_folder):
    bad = "{base: rtn, name: scribbles, transform: scribbles}"
    _, _, records = run_methods(mpqbench, tmp_path, tiny_folder, [bad], WRITERS)
    reason = records["scribbles"]["reason"]
    assert "layer blocks.0" in reason
    assert "writes into its input" in reason
