"""Whatever a text holds and wherever output goes: no run ends, and nothing of a text is obeyed."""

import ast
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.table import Table

from mpqbench.core.progress import Bars, PlainLines
from mpqbench.core.terminal import Output, console, echo, encodable, one_line, printable

PACKAGE = Path(__file__).parents[2]
RUN = ["run", "smoke", "--features", "none", "--images", "8", "--steps", "2", "--method", "rtn"]


def mpqbench(*words, stdout=subprocess.PIPE, **environment):
    """Runs the command in a process of its own; gives (exit code, stdout, stderr) in bytes."""
    command = [sys.executable, "-m", "mpqbench", *map(str, words)]
    given = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, env=given)
    return done.returncode, done.stdout, done.stderr


def test_a_run_prints_in_any_encoding_and_locale(tiny_folder, tmp_path):
    words = [*RUN, "--model", tiny_folder, "--budget", "W4A4", "--out", tmp_path / "out—Ω"]
    environment = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0"}
    environment |= {"PYTHONCOERCECLOCALE": "0", "MPLBACKEND": "no-such-backend"}
    code, out, err = mpqbench(*words, **environment)
    assert code == 0, err
    assert "rtn" in out.decode("ascii")
    assert b"Traceback" not in err


def test_files_are_utf_8_in_every_locale(tmp_path):
    (tmp_path / "süß.yaml").write_text(
        "name: mine\nmodels: [größe]\nmethods: [rtn]\nbudgets: [W4A4]\n", encoding="utf-8"
    )
    environment = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    code, _, err = mpqbench("run", "-n", tmp_path / "süß.yaml", **environment)
    assert code == 2
    assert err.startswith(b"error: ")
    assert b"gr\\xf6\\xdfe" in err


TEXTUAL = ("read_text", "write_text")


@pytest.mark.parametrize("folder", ["mpqbench", "baselines", "methods"])
def test_the_product_names_the_encoding_of_every_text_file(folder):
    for path in (PACKAGE / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            is_text = name in TEXTUAL or any(
                word.arg == "text" and ast.unparse(word.value) == "True" for word in node.keywords
            )
            named = any(word.arg == "encoding" for word in node.keywords) or any(
                isinstance(given, ast.Constant) and given.value == "utf-8" for given in node.args
            )
            assert named or not is_text, f"{path}:{node.lineno}"


@pytest.mark.parametrize("words", [["list"], ["run", "--help"], ["info", "gptq"], ["nothing"]])
def test_a_closed_output_ends_nothing(words):
    read, write = os.pipe()
    os.close(read)
    code, _, err = mpqbench(*words, stdout=write)
    os.close(write)
    assert (code, b"Traceback" in err) == (2 if words == ["nothing"] else 0, False)
    assert b"Exception ignored" not in err


def test_an_output_that_was_closed_before_the_start_ends_nothing():
    script = f"{sys.executable} -m mpqbench list >&-"
    done = subprocess.run(["bash", "-c", script], capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_an_output_without_space_is_told():
    with open("/dev/full", "w", encoding="utf-8") as full:
        code, _, err = mpqbench("list", stdout=full)
    assert code == 1
    assert err == b"error: the output cannot be written: No space left on device\n"


HOSTILE = "runs/[/bold] [red]x[/] :smile: \x1b[2J\x07 \u202egnp\x9b5m"


def test_a_text_is_shown_and_not_obeyed(capsys):
    PlainLines().say(f"{HOSTILE}\nnext")
    echo(HOSTILE)
    out = capsys.readouterr().out
    assert out.splitlines() == [f"{printable(HOSTILE)} next", printable(HOSTILE)]
    assert "\\x1b[2J\\x07 \\u202egnp\\x9b5m" in out
    assert "[/bold] [red]x[/] :smile:" in out


@pytest.mark.parametrize("terminal", [True, False])
def test_rich_shows_a_text_as_it_stands(monkeypatch, terminal):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(stream, "isatty", lambda: terminal)
    table = Table("a [/b] column", title=HOSTILE)
    table.add_row("[/red]\x1b[1m")
    console(width=120).print(table)
    bars = Bars()
    with bars.stage(HOSTILE, 3) as advance:
        advance(1)
        bars.say(HOSTILE)
    text = stream.getvalue()
    assert "a [/b] column" in text
    assert "[/red]\\x1b[1m" in text
    assert ":smile:" in text
    assert "\x1b[2J" not in text.replace("\x1b[2K", "")
    assert "\x07" not in text


def test_one_line_and_one_encoding():
    assert one_line("a\n\n  b\x1b[1m") == "a b\\x1b[1m"
    assert encodable("±Δ→é\udcff", "ascii") == "+-d->e\\udcff"
    assert encodable("±→", "latin-1") == "±->"


def test_a_stream_takes_any_text():
    binary = io.BytesIO()
    stream = Output(io.TextIOWrapper(binary, encoding="ascii", write_through=True))
    stream.write("FD ±1 \U0001f600\n")
    assert binary.getvalue() == b"FD +-1 \\U0001f600\n"
    with pytest.raises(TypeError):
        stream.write(b"")
    Output(None).write("nowhere")
