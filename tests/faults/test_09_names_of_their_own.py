"""Names are unique or refused: recipes, figures of models, jobs of several folders."""

import pytest
from records_of import record_of

from mpqbench.report.table import leaderboard


@pytest.mark.parametrize(
    "fields", ["searcher: ilp", "base: gptq", "attention_bits: 4", "adaln: W4A4"]
)
def test_a_recipe_called_full_precision_is_refused(mpqbench, tmp_path, tiny_folder, fields):
    suite = tmp_path / "mine.yaml"
    suite.write_text(
        f"protocol: smoke\nbudgets: [W4A4]\nmethods: [{{name: full-precision, {fields}}}]\n",
        encoding="utf-8",
    )
    options = ["--model", tiny_folder, "--features", "none", "--out", tmp_path / "out"]
    code, _, err = mpqbench("run", suite, *options)
    assert code == 2
    assert "'full-precision' is the model as it is" in err
    assert not (tmp_path / "out/records").exists()


@pytest.mark.parametrize(
    "models", [("a b", "a-b"), ("Model", "model"), ("x/y", "x-y", "x y"), ("-", "?")]
)
def test_models_whose_names_shorten_alike_have_figures_of_their_own(models):
    records = [
        record_of(method, budget, 5.0, model=model, job=f"{at}-{method}")
        for at, model in enumerate(models)
        for method, budget in (("full-precision", "FP"), ("rtn", "W4A4"))
    ]
    names = [block.name.lower() for block in leaderboard(records).blocks]
    assert len(set(names)) == len(models)
