"""Records the results of the package and compares two recordings bit for bit.

A recording made before a change of the code and one made after the change show whether any result
moved. Only the public interface is used: the command line, suites in YAML, and the files of a run.
Run from the root of the repository:

    python -m tools.oracle record FOLDER [--part smoke large searchers costs]
    python -m tools.oracle compare FOLDER_A FOLDER_B

``record`` runs the jobs that FOLDER lacks and writes FOLDER/oracle.json; after an interruption the
same command goes on. Every state of the code needs a folder of its own. ``compare`` prints every
difference and exits with 1 if there is one. Both recordings must come from one machine: every job
runs with one thread, because another processor or another number of threads changes the order of
sums and therefore the last bits. Times, memory, fingerprints, recipes and provenance are left out.
"""

import argparse
import functools
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

ROOT = Path(__file__).resolve().parents[1]
COMMAND = str(Path(sys.executable).with_name("mpqbench"))
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
PARTS = ("smoke", "large", "searchers", "costs")
KEPT = ("status", "reason", "scores", "costs", "allocation", "search_evals", "n_images")
SAMPLES = ("arr_0", "latents", "classes")

SETTINGS = yaml.safe_load((ROOT / "tools" / "oracle.yaml").read_text(encoding="utf-8"))
GIVEN = {
    f"blocks.{block}.{kind}": "W2A3" if block % 2 else "W3A3"
    for block in range(12)
    for kind in ("attn.qkv", "attn.out", "mlp.up", "mlp.down")
}


@functools.cache
def registered() -> dict[str, list[str]]:
    """The names of all plugins by kind, without ``none`` and ``full-precision``."""
    command = [COMMAND, "list"]
    listed = subprocess.run(command, env=ENVIRONMENT, check=True, capture_output=True, text=True)
    names: dict[str, list[str]] = {}
    for line in listed.stdout.splitlines():
        word = line.split()[0]
        if not line.startswith(" "):
            names[kind := word.rstrip(":")] = []
        elif word not in ("none", "full-precision"):
            names[kind].append(word)
    return names


def suites_of(part: str) -> dict[str, dict[str, Any]]:
    """The suites of a part by name."""
    smoke = {"budgets": ["W3A3"], "protocol": "smoke"}
    if part == "smoke":
        methods = [_shorter(name) for name in registered()["method"]]
        return {part: {**smoke, "methods": methods, "budgets": ["W4A4", "W3A3"]}}
    if part == "large":
        methods = ["gptq", "brecq", "svdquant", "treeq", _shorter("treeq-peft")]
        protocol = {"base": "quick", "images": 200, "steps": 4, "calibration": 32}
        return {part: {**smoke, "methods": methods, "protocol": protocol}}
    kinds = SETTINGS["beside"] if part == "searchers" else {}
    singles = {kind: [_single(kind, name) for name in registered()[kind]] for kind in kinds}
    suites = {kind: {**smoke, "methods": methods} for kind, methods in singles.items()}
    return suites | (SETTINGS["suites"] if part == "searchers" else {})


def _shorter(name: str) -> str | dict[str, Any]:
    """The method as it is registered, or with fewer steps where those take minutes."""
    changes = SETTINGS["shorter"].get(name)
    return {"base": name, "name": name, **changes} if changes else name


def _single(kind: str, name: str) -> dict[str, Any]:
    """The recipe that shows one plugin."""
    own = {"allocation": GIVEN} if name == "given" else SETTINGS["parameters"].get(name, {})
    beside = SETTINGS["beside"][kind]
    return {"base": "rtn", "name": f"{kind}-{name}", **beside, kind: {"name": name, **own}}


def run_part(part: str, folder: Path, methods: list[str]) -> dict[str, Any]:
    """Run the suites of a part and return the digest of every job."""
    digests = {}
    for name, content in suites_of(part).items():
        path = folder / "suites" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            yaml.safe_dump({"name": name, **content}, sort_keys=False), encoding="utf-8"
        )
        out = folder / "runs" / name
        chosen = [word for method in methods for word in ("--method", method)]
        command = [COMMAND, "run", str(path), "--out", str(out), *chosen]
        # Exit code 1 means that a job failed: the failure is recorded as the result of the job.
        if subprocess.run(command, env=ENVIRONMENT, cwd=ROOT).returncode not in (0, 1):
            sys.exit(f"{' '.join(command)} did not run")
        for record in sorted((out / "records").glob("*.json")):
            digests[f"{name}/{record.stem}"] = job_digest(out, record)
    return digests


def job_digest(run: Path, path: Path) -> dict[str, Any]:
    """All results of one job: record, allocation, tables of the search and of tuning, samples."""
    record, job = json.loads(path.read_text(encoding="utf-8")), path.stem
    digest = {name: record[name] for name in KEPT}
    allocation = run / "allocations" / f"{job}.json"
    if allocation.exists():
        digest["groups"] = json.loads(allocation.read_text(encoding="utf-8"))
    traces = sorted((run / "traces").glob(f"{job}.*parquet"))
    digest["traces"] = {trace.name.removeprefix(f"{job}."): _table(trace) for trace in traces}
    shards = sorted((run / "samples" / job).glob("shard-*.npz"))
    digest["samples"] = {shard.name: _hashes(shard) for shard in shards}
    digest["files"] = 1 + allocation.exists() + len(traces) + len(shards)
    return digest


def _table(path: Path) -> dict[str, Any]:
    table = pd.read_parquet(path).drop(columns="seconds", errors="ignore")
    return {str(name): table[name].tolist() for name in table}


def _hashes(path: Path) -> dict[str, str]:
    with np.load(path) as shard:
        arrays = {name: shard[name] for name in SAMPLES}
    return {
        name: f"{a.dtype} {a.shape} {hashlib.sha256(a.tobytes()).hexdigest()}"
        for name, a in arrays.items()
    }


def recorded_costs() -> dict[str, Any]:
    """Costs recomputed for every committed record whose whole allocation is known."""
    digests: dict[str, Any] = {}
    boards = ROOT / "leaderboards"
    paths = sorted(boards.glob("**/records/*.json"))
    for path in paths:
        record = json.loads(path.read_text(encoding="utf-8"))
        saved = path.parents[1] / "allocations" / path.name
        groups = json.loads(saved.read_text(encoding="utf-8")) if saved.exists() else None
        if record["costs"] and (groups or len(record["allocation"]["counts"]) == 1):
            digest = {"committed": record["costs"], "recomputed": count_costs(record, groups)}
            digests[str(path.relative_to(boards))] = digest | {"files": 1 + saved.exists()}
    print(f"costs: {len(digests)} of {len(paths)} committed records have a known allocation")
    for field in ("macs", "parameters", "bitops_linear", "bitops", "bytes"):
        equal = sum(d["committed"][field] == d["recomputed"][field] for d in digests.values())
        print(f"costs: {field} of {equal} of {len(digests)} equal the committed record")
    return digests


def count_costs(record: dict[str, Any], allocation: dict[str, str] | None) -> dict[str, int]:
    """Costs of a record by the package's counter, without what branches and transforms add.

    This function and the next alone import the package. ``allocation`` by group is ``None`` where
    all searchable groups have the one precision of the record.
    """
    from mpqbench.core.formats import ActivationFormat, WeightFormat
    from mpqbench.core.precision import Allocation, Precision
    from mpqbench.cost.count import CountOptions, count
    from mpqbench.dit.groups import uniform_allocation

    recipe, (transformer, groups) = record["recipe"], _network(record["model"])
    only, adaln = next(iter(record["allocation"]["counts"])), Precision.parse(recipe["adaln"])
    whole = uniform_allocation(groups, Precision.parse(only), adaln)
    options = CountOptions(
        WeightFormat(**recipe["weight_format"]),
        ActivationFormat(**recipe["activation_format"]),
        recipe.get("attention_bits"),  # absent in older records
    )
    given = Allocation.from_json(allocation) if allocation else whole
    report = count(transformer, groups, given, options)
    fields = ("macs", "parameters", "bitops_linear", "bitops", "bytes")
    return {field: getattr(report, field) for field in fields}


@functools.cache
def _network(model: str) -> tuple[Any, Any]:
    """The transformer of a model without weights, and its groups of layers."""
    from mpqbench.dit.groups import layer_groups
    from mpqbench.dit.loading import meta_transformer

    transformer = meta_transformer(model)
    return transformer, layer_groups(transformer)


def record(folder: Path, parts: list[str], methods: list[str]) -> None:
    """Record ``parts`` into ``folder`` and put all parts that are there into oracle.json."""
    for part in parts:
        began = time.monotonic()
        digests = recorded_costs() if part == "costs" else run_part(part, folder, methods)
        text = json.dumps(digests, sort_keys=True, indent=0)
        (folder / "parts").mkdir(parents=True, exist_ok=True)
        (folder / "parts" / f"{part}.json").write_text(text, encoding="utf-8")
        print(f"{part}: {len(digests)} results in {time.monotonic() - began:.0f} s", flush=True)
    saved = [(part, folder / "parts" / f"{part}.json") for part in PARTS]
    known = {
        part: json.loads(path.read_text(encoding="utf-8")) for part, path in saved if path.exists()
    }
    (folder / "oracle.json").write_text(
        json.dumps(known, sort_keys=True, indent=0), encoding="utf-8"
    )


def compare(one: Path, other: Path, common: bool) -> int:
    """Print every difference, a list with several ones in one line; return 1 if there is any."""
    first, second = (
        _results(json.loads((f / "oracle.json").read_text(encoding="utf-8"))) for f in (one, other)
    )
    names = sorted(first.keys() & second.keys() if common else first.keys() | second.keys())
    numbers = files = different = 0
    for name in names:
        own, others = dict(_leaves(first.get(name))), dict(_leaves(second.get(name)))
        numbers += sum(isinstance(value, int | float) for value in own.values())
        files += own.get(("files",), 0)
        found: dict[str, list[str]] = {}
        for path in sorted(own.keys() | others.keys()):
            was, now = (json.dumps(side.get(path, "absent")) for side in (own, others))
            if was != now:  # the text of a NaN equals the text of another one
                place = path[:-1] if path and path[-1].isdigit() else path
                found.setdefault("/".join(place), []).append(f"{path[-1:]}: {was} -> {now}")
        different += sum(map(len, found.values()))
        for field, lines in found.items():
            print(f"{name} {field}: {len(lines)} differ, the first at {lines[0]}")
    print(f"{len(names)} results compared: {numbers} numbers from {files} files")
    print(f"{different} values differ" if different else "all equal, bit for bit")
    return int(different > 0 or not names)


def _results(parts: dict[str, Any]) -> dict[str, Any]:
    return {f"{part}/{name}": job for part, jobs in parts.items() for name, job in jobs.items()}


def _leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value that is no list and no dictionary, by its path."""
    if not isinstance(value, dict | list):
        yield path, value
        return
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        yield from _leaves(item, (*path, str(key)))


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record", help="run the jobs and write oracle.json")
    recording.add_argument("folder", type=Path)
    recording.add_argument("--part", nargs="+", choices=PARTS, default=PARTS)
    recording.add_argument("--method", action="append", default=[], help="only this method")
    comparing = commands.add_parser("compare", help="print what differs")
    comparing.add_argument("one", type=Path)
    comparing.add_argument("other", type=Path)
    comparing.add_argument("--common", action="store_true", help="only results that both have")
    given = parser.parse_args()
    if given.command == "compare":
        return compare(given.one, given.other, given.common)
    record(given.folder.resolve(), given.part, given.method)
    return 0


if __name__ == "__main__":
    sys.exit(main())
