"""The static page: what it holds, what it escapes, and that a browser shows and switches it."""

import csv
import json
import re

import pytest
from browser import PROGRAMS, Browser
from records_of import record_of

from mpqbench.core.errors import BenchError
from mpqbench.records.store import RecordStore
from mpqbench.report.site.build import embedded, write_site
from mpqbench.report.site.data import read_boards, site_data

NASTY = ["<script>alert(1)</script>", "a_b%{}", "=cmd()", "</script><img src=x onerror=alert(1)>"]
FORMATS = {
    "channel": {"weight_format": {"granularity": "channel", "group": None}},
    "g32": {
        "weight_format": {"granularity": "group", "group": 32},
        "activation_format": {"granularity": "token-group", "group": 32},
    },
}


def _records():
    yield record_of("full-precision", "FP", 1.0)
    for at, (name, recipe) in enumerate([("rtn", "channel"), ("treeq", "g32")]):
        for budget, fd in (("W4A4", 2.0 + at), ("W3A3", 6.0 - at)):
            yield record_of(name, budget, fd, recipe={"name": name, **FORMATS[recipe]})
    for at, name in enumerate(NASTY):
        yield record_of(name, "W8A8", 1.5, job=f"nasty-{at}", recipe={"name": name})


@pytest.fixture
def run(tmp_path):
    store = RecordStore(tmp_path / "runs" / "mine")
    for record in _records():
        store.write(record)
    store.write_allocation("nasty-1", {"blocks.0.attn.qkv": "W4A4", "blocks.0.mlp.up": "W2A2"})
    published = tmp_path / "runs" / "published"
    published.mkdir()
    with (published / "published.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["method", "fid"], ["<b>quoted</b>", "2.27"]])
    return tmp_path / "runs"


def _data(page):
    found = re.search(r'<script id="site-data" type="application/json">(.*?)</script>', page, re.S)
    return json.loads(found[1])


def test_json_in_a_page_has_no_tag_and_keeps_its_values():
    text = str(embedded(NASTY))
    assert not set("<>&") & set(text)
    assert json.loads(text) == NASTY


def test_names_from_records_and_files_are_no_markup(run, tmp_path):
    write_site([run], tmp_path / "site")
    page = (tmp_path / "site/index.html").read_text()
    assert "<script>alert(1)" not in page
    assert "<img src=x" not in page
    assert "<b>quoted" not in page
    assert "&lt;b&gt;quoted" in page
    data = _data(page)
    at = next(i for i, column in enumerate(data["columns"]) if column["name"] == "method")
    assert set(NASTY) < {row["cells"][at] for row in data["rows"]}


def test_rows_hold_values_texts_and_half_widths(run):
    data = site_data(read_boards([run]))
    place = {column["name"]: i for i, column in enumerate(data["columns"])}
    rows = {row["cells"][place["job"]]: row for row in data["rows"]}
    row = rows["fashion-dit__treeq__W3A3__s0__m1"]
    assert row["cells"][place["fd"]] == [5.0, "5.00 ±0.50", 0.5]
    assert row["cells"][place["format"]] == "g32"
    assert data["shared"][row["details"]["recipe"]]["name"] == "treeq"
    bits = rows["nasty-1"]["details"]["bits"]
    assert data["shared"][bits] == ["W4A4", "W2A2"]
    assert data["comparisons"][row["at"]]["model"] == "fashion-dit"


def test_rows_of_two_metric_fingerprints_are_two_comparisons(tmp_path):
    store = RecordStore(tmp_path / "mine")
    for metric in ("m1", "m2"):
        store.write(record_of(fd=2.0, metric=metric))
    data = site_data(read_boards([tmp_path]))
    assert [row["at"] for row in data["rows"]] == [0, 1]
    assert len({each["name"] for each in data["comparisons"]}) == 2


def test_the_same_records_give_the_same_bytes(run, tmp_path):
    trees = []
    for name in ("one", "two"):
        write_site([run], tmp_path / name)
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        trees.append({str(p.relative_to(tmp_path / name)): p.read_bytes() for p in files})
    assert trees[0] == trees[1]
    assert "mine/records/nasty-1.json" in trees[0]
    assert "mine/allocations/nasty-1.json" in trees[0]


def test_a_site_inside_the_folder_of_runs_does_not_hold_its_own_copies(run):
    write_site([run], run / "site")
    first = (run / "site/index.html").read_bytes()
    write_site([run], run / "site")
    assert (run / "site/index.html").read_bytes() == first


def test_a_folder_without_records_is_refused(tmp_path):
    with pytest.raises(BenchError, match="has no records"):
        write_site([tmp_path], tmp_path / "site")


@pytest.mark.skipif(None in PROGRAMS, reason="needs the programs chromium and chromedriver")
@pytest.mark.parametrize("width", [1400, 400])
def test_a_browser_sorts_filters_switches_and_opens_a_record(run, tmp_path, width):
    write_site([run], tmp_path / "site")
    browser = Browser(width)
    try:
        _use(browser, tmp_path / "site/index.html")
        assert browser.errors() == []
        assert [url for url in browser.requests() if not url.startswith(("file:", "data:"))] == []
    finally:
        browser.close()


def _methods(browser):
    names = "#table .tabulator-row .tabulator-cell a"
    return browser.run(f"return [...document.querySelectorAll('{names}')].map(a => a.textContent)")


def _choose(browser, switch, value):
    browser.run(
        "const box = document.getElementById(arguments[0]); box.value = arguments[1];"
        "box.dispatchEvent(new Event('change', { bubbles: true }))",
        switch,
        value,
    )


def _use(browser, page):
    browser.open(page)
    browser.wait("return document.querySelectorAll('#table .tabulator-row').length === 9")
    assert set(_methods(browser)) == {"full-precision", "rtn", "treeq", *NASTY}
    assert browser.run("return document.querySelectorAll('#plot .point').length") == 9
    assert browser.run("return document.documentElement.scrollWidth <= window.innerWidth")

    header = "[...document.querySelectorAll('.tabulator-col')].find(c => c.innerText.match(/^FD/))"
    browser.run(f"{header}.focus()")
    browser.press("Enter")
    browser.wait(f"return {header}.getAttribute('aria-sort') === 'ascending'")
    assert _methods(browser)[0] == "full-precision"
    assert _methods(browser)[-1] == "rtn"

    _choose(browser, "format", "g32")
    assert _methods(browser) == ["full-precision", "treeq", "treeq"]
    _choose(browser, "budget", "W3A3")
    assert _methods(browser) == ["full-precision", "treeq"]
    assert browser.run("return document.querySelectorAll('#plot .point').length") == 2
    _choose(browser, "total", "bytes")
    assert "MB" in browser.run("return document.querySelector('#plot svg').ariaLabel")

    browser.run("document.querySelector('#plot .point:not(.full)').focus()")
    assert browser.run("return document.getElementById('tip').innerText").startswith("treeq")
    browser.press("Enter")
    title = "document.querySelector('dialog[open] h2')"
    assert browser.wait(f"return {title} && {title}.textContent") == "treeq at W3A3"
    browser.press("Escape")
    browser.wait("return !document.querySelector('dialog[open]') && location.hash === ''")

    browser.run("location.hash = '#job=mine/nasty-0'")
    title = browser.wait(f"return {title} && {title}.textContent")
    assert title == "<script>alert(1)</script> at W8A8"
    browser.run("document.querySelector('dialog .close').click()")
    before = browser.run("return getComputedStyle(document.body).backgroundColor")
    browser.run("document.getElementById('theme').click()")
    assert browser.run("return getComputedStyle(document.body).backgroundColor") != before
