"""The cache: what is kept comes back whole or not at all."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from lines import Lines

from mpqbench.core.cache import Cache
from mpqbench.core.errors import BenchError

CONTENT = {"tensor": torch.arange(6.0).reshape(2, 3), "rows": [(1, 1 / 3, True), (2, None, False)]}


def test_content_comes_back_bit_by_bit(tmp_path):
    cache = Cache(tmp_path).at("searches", "of-today")
    assert cache.read("one") is None
    cache.write("one", CONTENT)
    back = cache.read("one")
    assert torch.equal(back["tensor"], CONTENT["tensor"])
    assert back["rows"] == CONTENT["rows"]
    assert [path.name for path in (tmp_path / "searches/of-today").iterdir()] == ["one.pt"]
    cache.remove("one")
    assert not cache.holds("one")


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-1], lambda b: b[:50] + b"?" + b[51:], lambda b: b""]
)
def test_a_damaged_entry_is_reported_and_made_again(tmp_path, damage):
    cache = Cache(tmp_path, Lines())
    cache.write("one", CONTENT)
    path = tmp_path / "one.pt"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(BenchError, match=r"one\.pt is missing or damaged: delete .* and run again"):
        cache.require("one")
    assert cache.get("one", lambda: 7) == 7
    assert all("one.pt is damaged" in line for line in cache.reporter.lines)
    assert len(cache.reporter.lines) == 2
    assert cache.get("one", lambda: 8) == 7


def test_a_reader_never_meets_half_an_entry(tmp_path):
    cache = Cache(tmp_path, Lines())
    contents = [torch.full((50_000,), float(value)) for value in range(8)]
    cache.write("one", contents[0])
    with ThreadPoolExecutor(4) as pool:
        writes = [pool.submit(cache.write, "one", content) for content in contents * 4]
        while not all(write.done() for write in writes):
            assert len(cache.read("one").unique()) == 1
    assert not cache.reporter.lines
    assert [path.name for path in tmp_path.iterdir()] == ["one.pt"]
