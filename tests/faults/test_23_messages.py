"""Messages name the file, the key or the option, and what would be right."""

import pytest

from mpqbench.core.errors import unknown

SUITE = {"name": "s", "models": "[fashion-dit]", "methods": "[rtn]", "budgets": "[W4A4]"}


@pytest.fixture
def said(mpqbench, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def say(*arguments, **keys):
        lines = {**SUITE, **keys}
        text = "".join(f"{key}: {value}\n" for key, value in lines.items() if value is not None)
        (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
        code, _, err = mpqbench("run", "mine.yaml", "-n", *arguments)
        assert (code, err.count("\n")) == (2, 1), err
        return err.removeprefix("error: ").rstrip()

    return say


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"methods": "rtn"}, "mine.yaml: methods must be a list, not 'rtn': write [rtn]"),
        ({"seeds": "0"}, "mine.yaml: seeds must be a list, not 0: write [0]"),
        ({"seeds": "[]"}, "mine.yaml: seeds must have at least 1 member"),
        ({"budgets": "W4A4"}, "mine.yaml: budgets must be a list, not 'W4A4': write [W4A4]"),
        (
            {"budgets": None, "budget": "[W4A4]"},
            "mine.yaml: unknown key 'budget'; did you mean",
        ),
        ({"steps": "20"}, "mine.yaml: unknown key 'steps': it belongs in 'protocol'"),
        ({"methods": ""}, "mine.yaml: methods must be a list, not null"),
        ({"name": "no"}, "YAML reads yes, no, on and off as true and false"),
        ({"budgets": "[0MB]"}, "budgets[0]: budget '0MB': a bound must be greater than 0"),
        ({"budgets": "[0b]"}, "budgets[0]: budget '0b': a bound must be greater than 0"),
        (
            {"budgets": "[1e3MB]"},
            "budget '1e3MB': '1e3MB' is not a bound: write W4A4, W4A4:total, 2.5MB",
        ),
        (
            {"protocol": "{base: quick, images: true}"},
            "protocol.images must be a whole number, not",
        ),
        ({"protocol": "{base: quick, images: '32'}"}, "a whole number, not '32': write 32"),
        ({"methods": "[my-method]"}, "a plugin in a file of your own needs --plugins FILE"),
        ({"methods": "[{base: [rtn], name: x}]"}, "method 'x': base must be a method's name"),
        ({"methods": "[{base: rtn}]"}, "a method with fields needs a name of its own"),
        (
            {"methods": "[{base: rtn, name: x, rounding: {a: 1}}]"},
            "'x': rounding.name is missing",
        ),
        (
            {"methods": "[{base: rtn, name: x, rounding: [gptq]}]"},
            "rounding must be a name or",
        ),
        (
            {"methods": "[{base: rtn, name: x, rounding: {name: gptq, dampin: 1}}]"},
            "method 'x': unknown parameter of rounding 'gptq' 'dampin'; did you mean 'damping'?",
        ),
        (
            {"methods": "[{base: rtn, name: x, rounding: {name: gptq, damping: '1'}}]"},
            "method 'x': rounding 'gptq': damping must be a number, not '1': write 1.0",
        ),
    ],
)
def test_in_a_suite(said, keys, sentence):
    err = said(**keys)
    assert sentence in err
    assert "[None]" not in err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--seeds", ""), "--seeds '' must be whole numbers with commas, such as 0,1,2"),
        (("--seeds", "-1"), "--seeds"),
        (("--seeds", str(2**63)), "--seeds"),
        (("--seeds", "9" * 5000), "--seeds"),
        (("--seeds", "1_0"), "--seeds"),
        (("--budget", "W4"), "--budget: budget 'W4': 'W4' is not a bound"),
        (("--budget", "0MB"), "--budget: budget '0MB': a bound must be greater than 0"),
        (("--images", "1" + "0" * 30), "settings of this run: images must be at most 10000000"),
    ],
)
def test_in_an_option(said, arguments, sentence):
    err = said(*arguments)
    assert sentence in err
    assert "mine.yaml" not in err
    assert len(err) < 250


def test_budgets_keep_their_digits(said):
    from mpqbench.core.precision import Budget

    exact = (
        "1234567.5MB",
        "0.000001MB",
        "7.999999999b",
        "W4A4+123456789MB",
        "100b",
        "0.00000000001b",
    )
    for text in exact:
        assert str(Budget.parse(text)) == text
        assert Budget.parse(str(Budget.parse(text))) == Budget.parse(text)


def test_a_message_has_at_most_forty_valid_names():
    text = str(unknown("layer", "nope", [f"blocks.{number:03d}" for number in range(108)]))
    assert "blocks.039, ... (108 in all)" in text
    assert "blocks.040" not in text
