"""``list``, ``info``, ``check`` and wrong commands: quick, whole and one sentence."""

import json
import subprocess
import sys

import pytest

from mpqbench.core.listing import first_sentence


def test_sentences_fit_the_terminal(mpqbench, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = mpqbench("list")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    monkeypatch.delenv("COLUMNS")
    line = next(line for line in mpqbench("list", "branch")[1].splitlines() if "sparse" in line)
    assert line.endswith("(which ignores that inputs correlate).")  # whole, in one line of a pipe
    assert "``" not in out


def test_a_list_is_json_for_programs(mpqbench):
    listed = json.loads(mpqbench("list", "--json")[1])
    assert {"rounding", "method", "suite", "protocol", "model", "broken"} <= listed.keys()
    names = {row["name"] for row in listed["rounding"]}
    assert {"gptq", "nearest"} <= names
    assert all(row["summary"] for row in listed["rounding"])


def test_a_sentence_is_the_first_one():
    doc = "Rounds ``weight`` of\nvan\nden Berg (2020, section 1.2) to ``x * 2``. Then more.\n\nAnd."
    assert first_sentence(doc) == "Rounds 'weight' of van den Berg (2020, section 1.2) to x * 2."


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("quick", ["suite 'quick'", "- rtn", "protocol 'quick'", "images: 1000"]),
        ("fashion-dit", ["model 'fashion-dit'", "Fashion-MNIST"]),
        ("dit-50k", ["protocol 'dit-50k'", "50,000 images"]),
        ("dit-xl-2-256", ["facebook/DiT-XL-2-256"]),
        ("random:dit-xl-2-256", ["random weights", "num_layers: 28"]),
    ],
)
def test_suites_protocols_and_models_are_explained(mpqbench, name, shown):
    code, out, _ = mpqbench("info", name)
    assert code == 0
    for text in shown:
        assert text in out


def test_a_wrong_model_is_told_before_anything_heavy_is_imported(tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "name: mine\nmodels: [fashion-dti]\nmethods: [rtn]\nbudgets: [W4A4]\n", encoding="utf-8"
    )
    program = (
        "import sys\nfrom mpqbench.cli.main import main\n"
        "for words in (['run', '--model', 'fashion-dti'], ['run', 'mine.yaml'],\n"
        "              ['ablate', 'gptq', '--model', 'fashion-dti'],\n"
        "              ['study', 'branches', '--model', 'fashion-dti']):\n"
        "    sys.argv = ['mpqbench', *words]\n"
        "    try:\n        main()\n    except SystemExit as end:\n        assert end.code == 2\n"
        "assert 'torch' not in sys.modules"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("did you mean 'fashion-dit'") == 4


BROKEN = """\
from mpqbench.contracts import Rounding, plugin
from mpqbench.quant.affine import quantize_weight


@plugin
class Broken(Rounding):
    def round(self, weight, layer, fmt, bits):
        return quantize_weight(wieght, fmt, bits, layer.name)


PLUGINS = {"rounding": {"broken": Broken}}
"""


def test_one_fault_is_one_finding_with_the_line_of_the_file(mpqbench, tmp_path):
    path = tmp_path / "broken.py"
    path.write_text(BROKEN, encoding="utf-8")
    code, out, _ = mpqbench("check", "broken", "--quick", "--plugins", path)
    assert code == 1
    (finding,) = [line for line in out.splitlines() if "FAILED" in line]
    assert f"{path} line 8: " in finding
    assert "NameError: name 'wieght' is not defined" in finding
    assert "shapes, " in finding
    path.write_text(BROKEN.replace("wieght", "2 * weight"), encoding="utf-8")
    code, out, _ = mpqbench("check", "broken", "--quick", "--plugins", path)
    assert code == 1
    assert f"{path} line 5, Broken: " in out


WRONG = """
run --images 0|run --images x|run --steps 2000|run --sampler euler|run --dtype int8
run --micro-batch -1|run --batch-size 0|run --seeds ""|run --budget W4|run --nonsense
run quick more|run --out|run --features nothing --model fashion-dit -n|run --device tpu -n
ablate|ablate gptq --factor rounding|ablate gptq --factor rownding=a --images 4
ablate gptq --factor searcher=tss --images 4|ablate gptq --sweep searcher=|ablate --steps 0 gptq
ablate gptq --scale cubic|ablate gptq --protocol no|ablate nothing.yaml|ablate gptq --seed 1.5
study searchers --evaluations 0|study searchers --steps none|study searchers nothing.yaml
study proxies --allocations 3|study proxies --seeds 0,1|study proxies --budget 1 --budget W3A3
study branches --bits 9|study branches --rank 0|study branches --branch [|study branches --seeds a
study branches --seeds 0,1|study branchs|list nothing|list --jsn|info|info nearest nearest
check|check nearest --kind nothing|check nearest --param a|check nearest --kind searcher
new|new rounding|new nothing x|new rounding Nearest|new method rtn|new package torch
cost|cost --model fashion-dit|cost --model fashion-dit --precision W44
cost --model fashion-dit --precision W4A4 --attention-bits 1|score|score nothing
report|report nothing|report . --fill nothing.md|doctor now|nothing|-x
"""
COMMANDS = [each.split() for each in WRONG.replace("\n", "|").split("|") if each]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_wrong_command_is_one_sentence(mpqbench, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    code, out, err = mpqbench(*[word.strip('"') for word in words])
    assert code == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert out == ""
    assert list(tmp_path.rglob("*")) == []
