"""Find plugins by name: entry points of installed packages, and files given with ``--plugins``.

A plugin module has a table ``PLUGINS = {kind: {name: target}}`` whose targets are objects or
``"module:attribute"`` strings, which need no import for a listing. A method may be the string
``"package:file.yaml"``, a file with the fields of recipes by name. The plugins of this repository
are registered in the same way.
"""

import dataclasses
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic.dataclasses import is_pydantic_dataclass

from .errors import ANY_ERROR, BenchError, reason_of, shown, unknown
from .recipe import SLOTS, PluginChoice, Recipe, derived
from .settings import digest_of, validate
from .sources import harness_digest, plugin_digest
from .yaml_text import read_yaml

ENTRY_POINTS = "mpqbench.plugins"
KINDS = (*SLOTS, "method", "architecture")


@dataclass(frozen=True)
class PluginEntry:
    """One registered plugin; ``origin`` says where it came from."""

    kind: str
    name: str
    target: Any
    origin: str
    module: str = ""  # that has the table

    def load(self) -> Any:
        """Return the target. Raises BenchError with the plugin's name where its import fails."""
        if not isinstance(self.target, str):
            return self.target
        module, _, attribute = self.target.partition(":")
        try:
            if attribute.endswith(".yaml"):
                return _recipes(module, attribute)[self.name]
            return getattr(importlib.import_module(module), attribute)
        except ANY_ERROR as error:
            raise BenchError(
                f"{self.kind} '{self.name}' of {self.origin} cannot be imported: {reason_of(error)}"
            ) from error


def parameters(cls: Any) -> dict[str, Any]:
    """Return the parameters of a plugin class with their defaults (``...`` for none).

    An architecture has none.
    """
    if not dataclasses.is_dataclass(cls):
        return {}
    defaults = {field.name: field.default for field in dataclasses.fields(cls)}
    return {k: ... if v is dataclasses.MISSING else v for k, v in defaults.items()}


@cache
def _recipes(package: str, file: str) -> dict[str, Recipe]:
    """Return the recipes of a YAML file inside a package; a ``base`` stands before in the file."""
    path, recipes = Path(str(files(package))) / file, dict[str, Recipe]()
    data = read_yaml(path)
    if not isinstance(data, Mapping):
        raise BenchError(f"{path}: a file of recipes is a mapping {{name: {{slot: choice}}}}")
    for name, fields in data.items():
        where = f"{path}: method {shown(name)}"
        if not isinstance(fields, Mapping):
            raise BenchError(f"{where} is no mapping {{slot: choice, ...}}")
        base = None
        if "base" in fields:
            if fields["base"] not in list(recipes):
                raise BenchError(f"{where}: {unknown('base before it', fields['base'], recipes)}")
            base = recipes[fields["base"]]
        recipes[name] = _recipe({"name": name, **fields}, base, where)
    return recipes


def _recipe(data: Mapping[str, Any], base: Recipe | None, where: str) -> Recipe:
    """Return the recipe of ``data``, whose other fields are those of ``base``."""
    fields = {k: v for k, v in data.items() if k != "base"}
    if base is None:
        return validate(Recipe, fields, where)
    return derived(base, fields, where)


def _target(kind: str, name: str, target: Any, origin: str) -> Any:
    """Return the target of an entry, a recipe in place of its fields. Raises BenchError."""
    if kind == "method" and isinstance(target, Mapping):
        where = f"method '{name}' of {origin}"
        if "base" in target:
            raise BenchError(f"{where}: a mapping has no 'base': write all fields, or a YAML file")
        return _recipe({"name": name, **target}, None, where)
    wanted = (str, Recipe) if kind == "method" else (str, type)
    if not isinstance(target, wanted):
        what = "a Recipe or its fields" if kind == "method" else "a class"
        raise BenchError(
            f"PLUGINS['{kind}']['{name}'] of {origin} must be {what}, or a text module:attribute, "
            f"not {shown(target)}"
        )
    return target


class Registry:
    """All known plugins by kind and name."""

    def __init__(self) -> None:
        self._entries: dict[str, dict[str, PluginEntry]] = {kind: {} for kind in KINDS}
        self._plugin_digest = cache(self._digest)
        self.broken: dict[str, str] = {}  # origin -> why nothing of it could be registered

    def add_table(self, table: Any, origin: str, module: str = "") -> None:
        """Register a whole ``PLUGINS`` table, or nothing of it where one entry is wrong.

        Raises BenchError for another shape, an unknown kind and a taken name.
        """
        if not isinstance(table, Mapping):
            raise BenchError(f"{origin} has no table PLUGINS = {{kind: {{name: target}}}}")
        added = []
        for kind, names in table.items():
            known = self._of_kind(kind)
            if not isinstance(names, Mapping) or not all(isinstance(n, str) for n in names):
                raise BenchError(f"PLUGINS['{kind}'] of {origin} must be a table {{name: target}}")
            for name in known.keys() & names.keys():
                raise BenchError(
                    f"two plugins are called {kind} '{name}', one of {known[name].origin} and one "
                    f"of {origin}: rename one or leave one out"
                )
            for name, target in names.items():
                target = _target(kind, name, target, origin)
                added.append(PluginEntry(kind, name, target, origin, module))
        for entry in added:
            self._entries[entry.kind][entry.name] = entry

    def _of_kind(self, kind: str) -> dict[str, PluginEntry]:
        if kind not in self._entries:
            raise unknown("plugin kind", kind, KINDS)
        return self._entries[kind]

    def entries(self, kind: str) -> list[PluginEntry]:
        """Return the entries of a kind, sorted by name. Raises BenchError for an unknown kind."""
        return [entry for _, entry in sorted(self._of_kind(kind).items())]

    def entry(self, kind: str, name: str, beside: Iterable[str] = ()) -> PluginEntry:
        """Return one entry. Raises BenchError with the nearest name here and in ``beside``."""
        if name not in self._entries[kind]:
            raise self._missing(unknown(kind, name, {*self._entries[kind], *beside}))
        return self._entries[kind][name]

    def find(self, name: str, beside: Iterable[str] = ()) -> list[PluginEntry]:
        """Return the entries of that name of all kinds.

        Raises BenchError where there is none, with the nearest name here and in ``beside``.
        """
        found = [names[name] for names in self._entries.values() if name in names]
        if not found:
            known = {n for names in (*self._entries.values(), beside) for n in names}
            raise self._missing(unknown("plugin", name, known))
        return found

    def _missing(self, error: BenchError) -> BenchError:
        """Add to ``error`` how plugins from files are given, and packages that are broken."""
        if not self.broken:
            return BenchError(f"{error}; a plugin in a file of your own needs --plugins FILE")
        broken = "; ".join(f"{origin}: {reason}" for origin, reason in self.broken.items())
        return BenchError(f"{error}; plugins of broken packages are missing: {broken}")

    def create(self, kind: str, choice: PluginChoice) -> Any:
        """Return the plugin of ``choice``. Raises BenchError for an unknown or wrong parameter."""
        entry = self.entry(kind, choice.name)
        cls: Any = entry.load()
        if not is_pydantic_dataclass(cls) or getattr(cls, "kind", None) != kind:
            name = getattr(cls, "__name__", type(cls).__name__)
            raise BenchError(
                f"{kind} '{choice.name}' of {entry.origin}: {name} must be a class with the "
                f"decorator @plugin and the base class {kind.capitalize()} of mpqbench.contracts"
            )
        valid = parameters(cls)
        for key in choice.params:
            if key not in valid:
                raise unknown(f"parameter of {kind} '{choice.name}'", key, valid)
        try:
            return cls(**choice.params)
        except ANY_ERROR as error:
            plain = isinstance(error, TypeError | ValueError)
            reason = str(error) if plain else reason_of(error)
            raise BenchError(f"{kind} '{choice.name}': {reason}") from error

    def parameters(self, kind: str, choice: PluginChoice) -> dict[str, Any]:
        """Return all parameters of ``choice``, with defaults where it gives none."""
        return parameters(self.entry(kind, choice.name).load()) | choice.params

    def method(self, spec: str | Mapping[str, Any]) -> Recipe:
        """Return a recipe from a method's name, from ``{base: name, ...}`` or from its fields."""
        if isinstance(spec, str):
            recipe = self.entry("method", spec).load()
            if not isinstance(recipe, Recipe) or recipe.name != spec:  # files are named after it
                raise BenchError(f"method '{spec}' must be a Recipe of that name")
            return recipe
        where = f"method {shown(spec.get('name', '?'))}"
        if not isinstance(spec.get("base", ""), str):
            raise BenchError(f"{where}: base must be a method's name, not {shown(spec['base'])}")
        base = self.method(spec["base"]) if "base" in spec else None
        return _recipe(spec, base, where)

    def source_digest(self, recipe: Recipe, without: tuple[str, ...] = ()) -> str:
        """Return the digest of all code that a result of ``recipe`` depends on.

        That is the harness, but for its folders ``without``, and the sources of the plugins.
        """
        return digest_of([harness_digest(without), *self.plugin_digests(recipe)])

    def plugin_digests(self, recipe: Recipe) -> list[str]:
        """Return the digests of the sources of a recipe's plugins, by slot."""
        return [self._plugin_digest(kind, getattr(recipe, kind).name) for kind in SLOTS]

    def _digest(self, kind: str, name: str) -> str:
        entry = self.entry(kind, name)
        module = sys.modules.get(entry.load().__module__)
        if module is None or module.__file__ is None:
            raise BenchError(f"{kind} '{name}' has no source file")
        # A class that a helper makes belongs to the file with its table as well.
        table = None if isinstance(entry.target, str) else sys.modules.get(entry.module)
        return plugin_digest({module} if table is None else {module, table})


def discover(paths: Iterable[Path] = ()) -> Registry:
    """Return the plugins of installed packages, ours first, and then of the files in ``paths``.

    An installed package that cannot be imported, or whose table is malformed or takes a name that
    is taken, is kept in ``broken`` with the reason: it must not stop this run. A file in ``paths``
    must be usable: BenchError otherwise.
    """
    registry = Registry()
    found = [(p.dist.name if p.dist else "?", p) for p in entry_points(group=ENTRY_POINTS)]
    for package, point in sorted(found, key=lambda x: (x[0] != "mpqbench", x[1].value, x[1].name)):
        origin = f"package {package} ({point.value})"
        try:
            registry.add_table(getattr(point.load(), "PLUGINS", None), origin, point.module)
        except ANY_ERROR as error:
            registry.broken[origin] = reason_of(error)
    for path in paths:
        for file in _plugin_files(path):
            module = _import_file(file)
            registry.add_table(getattr(module, "PLUGINS", None), f"file {file}", module.__name__)
    return registry


def _plugin_files(path: Path) -> list[Path]:
    found = [path] if path.is_file() else sorted(path.glob("*.py"))
    if not found:
        raise BenchError(f"--plugins {path}: no such Python file, and no folder with one")
    return found


def _import_file(path: Path) -> ModuleType:
    name = "mpqbench_plugin_" + hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise BenchError(f"--plugins {path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up there
    try:
        spec.loader.exec_module(module)
    except ANY_ERROR as error:
        del sys.modules[name]
        raise BenchError(f"plugin file {path}: {reason_of(error)}") from error
    return module
