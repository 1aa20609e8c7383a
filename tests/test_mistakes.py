"""Mistakes of a user: one sentence, exit code 2, and nothing half-written."""

import pytest

SEVERAL = ["--factor", "branch=none|sparse", "--factor", "searcher=ilp|dp"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["run", "quik"], "unknown suite 'quik'; did you mean 'quick'"),
        (["run", "--method", "rntn"], "unknown method 'rntn'; did you mean 'rtn'"),
        (["run", "--formats", "g32,token"], "--formats: no format class 'token': write channel"),
        (["ablate", "gptq", "--formats", "g32,channel"], "give --formats one"),
        (["run", "--seeds", "a"], "--seeds 'a' must be whole numbers"),
        (["run", "--device", "cuda:7"], "device 'cuda:7'"),
        (["run", "--reference", "nowhere.npz"], "nowhere.npz"),
        (
            ["run", "equal-terms", "--method", "groups", "--steps", "5"],
            "its objective has span 10, and",
        ),
        (["run", "--method", "treeq-peft", "--steps", "5"], "no more than 5 sampling steps"),
        (["run", "--method", "rtn", "--method", "rtn"], "names two methods 'rtn'"),
        (["run", "--seeds", "0,1,0"], "suite 'quick' names seed 0 twice"),
        (["ablate", "gptq", "--factor", "environment=clean|{name: eng, base: 4}"], "base must be"),
        (["ablate", "gptq", "--sweep", "rounding.block=1,2", "--scale", "linear"], "leave out --"),
        (["ablate", "gptk"], "did you mean 'gptq'"),
        (["ablate", "rtn"], "differs from the default recipe in no slot"),
        (["ablate", "gptq", "--factor", "rounding=gptq|nearst"], "did you mean 'nearest'"),
        (["ablate", "gptq", "--factors", "missing.yaml"], "missing.yaml does not exist"),
        (["ablate", "gptq", "--sweep", "rounding.damp=1,2", "--one-at-a-time"], "leave out --one"),
        (["ablate", "gptq", "--sweep", "a.b=1,2", *SEVERAL], "leave out the others"),
        (["ablate", "gptq", "--seeds", "x"], "--seeds 'x' must be whole numbers"),
        (["ablate", "gptq", "--protocol", "quik"], "did you mean 'quick'"),
        (["ablate", "gptq", "--sweep", "protocol.steps=0,4"], "greater than 0"),
        (["study", "searchers", "--method", "tsss"], "did you mean 'tss'"),
        (["study", "searchers", "--budget", "FP"], "a study needs a budget such as W4A4"),
        (["study", "searchers", "serchers"], "did you mean 'searchers'"),
        (["study", "realizations", "--realizations", "1"], "needs --realizations 2 or more"),
        (["study", "proxies", "--budget", "3MB"], "a study needs a budget such as W4A4"),
        (["study", "proxies", "--budget", "W9"], "--budget: "),
        (["study", "proxies", "--method", "rtm"], "did you mean 'rtn'"),
        (["study", "proxies", "--device", "cuda:7"], "device 'cuda:7' cannot be used"),
        (["rnu"], "unknown command 'rnu'; did you mean 'run'"),
        (["info", "nearst"], "unknown plugin 'nearst'; did you mean 'nearest'"),
        (["report", "/no/such/run"], "has no records"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_code_2(
    mpqbench, tiny_folder, tmp_path, monkeypatch, arguments, sentence
):
    monkeypatch.chdir(tmp_path)
    code, _, err = mpqbench(*arguments)
    assert code == 2
    assert sentence in err
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert not any(path.is_file() for path in tmp_path.rglob("*"))  # nothing half-written


@pytest.mark.parametrize("command", [["run", "smoke"], ["ablate", "gptq"], ["study", "branches"]])
def test_results_cannot_go_into_a_file(mpqbench, tmp_path, command):
    (tmp_path / "taken").write_text("mine", encoding="utf-8")
    for out in (tmp_path / "taken", tmp_path / "taken" / "runs"):
        code, _, err = mpqbench(*command, "--out", out)
        assert code == 2
        assert err == f"error: results cannot go into {out}: {tmp_path / 'taken'} is a file\n"
    assert (tmp_path / "taken").read_text(encoding="utf-8") == "mine"


def test_features_of_other_images_are_refused_before_sampling(mpqbench, tiny_folder, tmp_path):
    code, _, err = mpqbench("run", "smoke", "--model", tiny_folder, "--out", tmp_path / "out")
    assert code == 2
    assert "features 'fashion' are of 32x32x1 images" in err
    assert "makes 16x16x1" in err
    assert not (tmp_path / "out").exists()
