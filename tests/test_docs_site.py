"""The documentation as a site, and the notebook: built, linked and run as a reader would."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from browser import PROGRAMS, Browser

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "examples/compare.ipynb"
PAGES = ("index", "docs/index", "docs/tutorial", "docs/python", "docs/reference")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the built site."""
    for package in ("mkdocs", "material", "mkdocstrings", "nbconvert"):
        pytest.importorskip(package, reason="the extra 'docs' is not installed")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def outputs(path):
    """The texts and other outputs of a notebook; none may be an error or a warning."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    found = [output for cell in cells for output in cell.get("outputs", ())]
    assert {output["output_type"] for output in found} <= {
        "stream", "display_data", "execute_result"
    }  # fmt: skip
    assert all(output.get("name", "stdout") == "stdout" for output in found)
    return found


def test_the_notebook_is_executed_small_and_names_no_machine():
    assert len(outputs(NOTEBOOK)) == 7
    assert NOTEBOOK.stat().st_size < 150_000
    text = json.dumps(outputs(NOTEBOOK))
    assert not re.search(r"/tmp|/home|/root|/usr|/work|[A-Z]:\\\\", text)


@pytest.mark.slow
def test_the_notebook_runs(tmp_path):
    pytest.importorskip("nbconvert", reason="the extra 'docs' is not installed")
    pytest.importorskip("ipykernel", reason="the extra 'docs' is not installed")
    command = [sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute",
               "--output-dir", str(tmp_path), str(NOTEBOOK)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    kinds = [output["output_type"] for output in outputs(tmp_path / NOTEBOOK.name)]
    assert kinds == [output["output_type"] for output in outputs(NOTEBOOK)]


def test_every_page_is_in_the_site_and_asks_for_nothing(site):
    pages = {path.relative_to(site).as_posix() for path in site.rglob("*.html")}
    assert pages >= {f"{page}.html" for page in PAGES}
    assert pages >= {f"docs/{path.stem}.html" for path in (ROOT / "docs").glob("*.md")}
    for page in pages:
        text = (site / page).read_text(encoding="utf-8")
        loaded = re.findall(r'<(?:script|img|iframe)[^>]+src="([^"]+)"', text)
        loaded += re.findall(r'<link[^>]+rel="(?:stylesheet|preconnect)"[^>]+href="([^"]+)"', text)
        assert [url for url in loaded if re.match(r"(https?:)?//", url)] == []


def test_the_reference_has_every_call(site):
    text = (site / "docs/reference.html").read_text(encoding="utf-8")
    from mpqbench.api import _HOMES

    assert all(f'id="mpqbench.api.{home}.{name}"' in text for name, home in _HOMES.items())
    assert 'id="mpqbench.contracts.Searcher"' in text


@pytest.mark.skipif(not all(PROGRAMS), reason="there is no chromium with its driver")
def test_pages_open_from_files(site):
    browser = Browser()
    try:
        for page in PAGES:
            browser.open(site / f"{page}.html")
            browser.wait("return document.readyState === 'complete'")
        assert browser.errors() == []
        assert [url for url in browser.requests() if not url.startswith(("file:", "data:"))] == []
    finally:
        browser.close()
