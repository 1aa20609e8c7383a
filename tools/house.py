"""Measure the shape of the sources: lines, long signatures, imports between folders, circles.

Run ``python -m tools.house`` in the root of the repository. Nothing is imported or run: the figures
come from the syntax trees of ``mpqbench/``, ``baselines/`` and ``methods/``.
"""

import ast
from collections import Counter
from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "mpqbench": "mpqbench",
    "baselines": "mpqbench.baselines",
    "methods": "mpqbench.methods",
}
PLUGIN_FOLDERS = ("baselines", "methods")
MANY_PARAMETERS = 6

# Folders from the bottom to the top: a file imports from lower lines only.
LAYERS = (
    ("core",),
    ("contracts",),
    ("dit",),
    ("cost",),
    ("quant",),
    ("search", "metrics", "records", "tuning"),
    ("job", "conformance"),
    ("executors",),
    ("lab", "report"),
    ("api",),
    ("cli",),
    ("__main__",),
)
# Reports are made from records, whatever made these.
ONLY = {"report": {"core", "records", "metrics"}}
ANYWHERE = {"__init__", "assets"}

Graph = Mapping[str, set[str]]


def modules() -> dict[str, Path]:
    """Return the files of the product by module name."""
    found = {}
    for folder, package in PACKAGES.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            parts = parts[:-1] if parts[-1] == "__init__" else parts
            found[".".join((package, *parts))] = path
    return found


def import_graph(files: Mapping[str, Path]) -> Graph:
    """Return the modules that each module imports, inside functions and for type checking too."""
    return {name: set(_imports(name, path, files)) for name, path in files.items()}


def _imports(name: str, path: Path, files: Mapping[str, Path]) -> Iterable[str]:
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in files)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                yield from (target for target in (inner, source) if target in files)


def folder_of(module: str) -> str:
    """Return the folder of a module inside the harness; a plugin folder by its own name."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def folder_graph(graph: Graph) -> dict[str, set[str]]:
    """Return the folders that each folder imports from."""
    folders: dict[str, set[str]] = {}
    for name, targets in graph.items():
        own = folder_of(name)
        folders.setdefault(own, set()).update(folder_of(t) for t in targets)
        folders[own].discard(own)
    return folders


def circle(graph: Graph) -> list[str]:
    """Return one circle of imports, empty where there is none."""
    clean = {name: targets - {name, *_parents(name)} for name, targets in graph.items()}
    try:
        TopologicalSorter(clean).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def _parents(name: str) -> Iterable[str]:
    """Packages that a module lies in: importing one of their modules imports them first."""
    parts = name.split(".")
    return (".".join(parts[:end]) for end in range(1, len(parts)))


def upward(graph: Graph) -> list[str]:
    """Return imports against ``LAYERS`` and ``ONLY``, one sentence each."""
    rank = {folder: number for number, layer in enumerate(LAYERS) for folder in layer}
    wrong = []
    for name, targets in graph.items():
        own = folder_of(name)
        for target in sorted(targets):
            other = folder_of(target)
            if own == other or own in PLUGIN_FOLDERS or {own, other} & ANYWHERE:
                continue
            allowed = other in rank and rank[other] < rank[own]
            if not allowed or other not in ONLY.get(own, {other}):
                wrong.append(f"{name} imports {target}")
    return wrong


def repeated_classes(files: Mapping[str, Path]) -> list[str]:
    """Return class names that two files define at their top level."""
    names: Counter[str] = Counter()
    for path in files.values():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names.update(node.name for node in tree.body if isinstance(node, ast.ClassDef))
    return sorted(name for name, count in names.items() if count > 1)


def long_signatures(files: Mapping[str, Path]) -> list[str]:
    """Return functions of six or more parameters, ``self`` not counted."""
    found = []
    for name, path in files.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                count = len([a for a in arguments if a.arg not in ("self", "cls")])
                if count >= MANY_PARAMETERS:
                    found.append(f"{name}.{node.name}: {count}")
    return found


def main() -> None:
    """Print everything."""
    files = modules()
    graph = import_graph(files)
    lines: Counter[str] = Counter()
    for name, path in files.items():
        lines[folder_of(name)] += len(path.read_text(encoding="utf-8").splitlines())
    print(*(f"{count:6d} {folder}" for folder, count in sorted(lines.items())), sep="\n")
    tests = sum(
        len(p.read_text(encoding="utf-8").splitlines()) for p in (ROOT / "tests").rglob("*.py")
    )
    print(f"{sum(lines.values()):6d} lines of product, {tests} of tests")
    folders = folder_graph(graph)
    print(f"{len(folders)} folders, {sum(map(len, folders.values()))} arrows between them")
    print(f"circle of files: {circle(graph) or 'none'}; of folders: {circle(folders) or 'none'}")
    for title, found in (
        ("imports against the order of folders", upward(graph)),
        ("class names defined twice", repeated_classes(files)),
        (f"functions of {MANY_PARAMETERS} or more parameters", long_signatures(files)),
    ):
        print(f"{title}: {len(found)}", *(f"  {line}" for line in found), sep="\n")


if __name__ == "__main__":
    main()
