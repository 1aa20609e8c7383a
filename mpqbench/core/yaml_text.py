"""Reading and writing YAML: suites, recipes, factors, headers of pages, and values of options."""

import math
import re
import unicodedata
from pathlib import Path
from typing import Any, ClassVar

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode

from .errors import BenchError, shown

MOST_BYTES = 8 * 2**20
MOST_NODES = 200_000  # with every alias written out
MOST_LEVELS = 50
_PREFIX = "tag:yaml.org,2002:"
_STREAMS = re.compile(r"/dev/(stdin|fd/\d+)")
_KINDS = {"int": "whole number", "float": "number", "bool": "truth value"}


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file, which is UTF-8. Raises BenchError as ``parse_yaml``.

    Besides regular files, ``/dev/stdin`` can be read. Also raises BenchError where the file is
    missing, unreadable or larger than 8 MiB.
    """
    try:
        if not (path.is_file() or _STREAMS.fullmatch(str(path))):
            if path.is_dir():
                raise BenchError(f"{path} is a folder: give a YAML file")
            if path.exists():
                raise BenchError(f"{path} is no regular file: give a YAML file, or /dev/stdin")
            raise BenchError(f"{path} does not exist: give a YAML file or a built-in suite")
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise BenchError(f"{path} cannot be read: {error.strerror or error}") from None
    if len(content) > MOST_BYTES:
        raise BenchError(f"{path} is larger than {MOST_BYTES // 2**20} MiB, too large for settings")
    return parse_yaml(content, str(path))


def parse_yaml(content: str | bytes, where: str) -> Any:
    """Return the plain data of YAML: mappings, lists, texts, numbers, truth values and null.

    Numbers are those of YAML 1.2, so that ``1e-3`` is a number, and ``010`` and dates are texts. A
    key that is a number stays the text that it is written as.
    Raises BenchError, with the line and the column, for what is malformed, for a key that is there
    twice, for other tags, for an alias inside its own anchor, and for data too deep or too large.
    """
    text = _decoded(content, where) if isinstance(content, bytes) else content
    text = text.removeprefix("\ufeff")
    try:
        loader = _Loader(text)
        return loader.get_single_data()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        context = f"{error.context}, " if error.context else ""
        reason = f"{place}{context}{error.problem}"
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        reason = f"line {line}: the character #x{ord(text[error.position]):02x} is not allowed"
    except (ValueError, OverflowError):  # an escape such as "\\U00110000"
        reason = f"line {loader.line + 1}: an escape stands for no character"
    raise BenchError(f"{where} is not readable YAML: {' '.join(reason.split())}") from None


def dump_yaml(data: Any, **layout: Any) -> str:
    """Return plain data as YAML, in the given order, that ``parse_yaml`` reads as the same data."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, **layout)


def _decoded(content: bytes, where: str) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise BenchError(f"{where} is UTF-16: save the file as UTF-8")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise BenchError(
            f"{where}, line {line}: byte {content[error.start]:#04x} is not UTF-8: save the file "
            "as UTF-8"
        ) from None


def _refusal(node: Any, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


class _Loader(yaml.SafeLoader):
    """PyYAML's loader with numbers of YAML 1.2, unique keys, and bounds on depth and size."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012
    yaml_constructors: ClassVar[dict[str | None, Any]] = {}

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._level = 0
        self._sizes: dict[int, int] = {}  # nodes with all that is in them, by identity
        self._total = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        event = self.peek_event()
        is_alias = isinstance(event, yaml.AliasEvent)
        self._level += 1
        if self._level > MOST_LEVELS:
            raise _refusal(event, f"data is nested deeper than {MOST_LEVELS} levels")
        before = self._total
        node = super().compose_node(parent, index)
        self._level -= 1
        if is_alias:
            if id(node) not in self._sizes:
                raise _refusal(event, f"the alias *{event.anchor} is inside its own anchor")
            self._total += self._sizes[id(node)]
        else:
            self._total += 1
            self._sizes[id(node)] = self._total - before
        if self._total > MOST_NODES:
            raise _refusal(event, f"data has more than {MOST_NODES} values, aliases written out")
        return node

    def compose_mapping_node(self, anchor: Any) -> MappingNode:
        node = super().compose_mapping_node(anchor)
        lines: dict[Any, int] = {}
        for key, _ in node.value:
            if not isinstance(key, ScalarNode):
                raise _refusal(key, "a key is a list or a mapping: write a text")
            if key.tag in (f"{_PREFIX}int", f"{_PREFIX}float"):
                key.tag = f"{_PREFIX}str"  # such as the level 1e-3 of a factor
            merge = key.tag == f"{_PREFIX}merge"
            name = "<<" if merge else self.construct_object(key)
            line = key.start_mark.line + 1
            if name in lines:
                raise _refusal(
                    key, f"key {shown(key.value)} is there already in line {lines[name]}"
                )
            lines[name] = line
        return node

    def text(self, node: ScalarNode) -> str:
        """Return a text, without characters that no file name or terminal should get."""
        text: str = self.construct_scalar(node)
        for character in text:
            if unicodedata.category(character) in ("Cc", "Cs") and character not in "\n\t":
                raise _refusal(node, f"the character {character!a} is not allowed in a text")
        return text

    def number(self, node: ScalarNode) -> int | float:
        """Return the number of a scalar, which is finite unless ``.inf`` or ``.nan`` is written."""
        kind, text = node.tag.removeprefix(_PREFIX), self.construct_scalar(node)
        try:
            if len(text) > 100:
                raise ValueError
            if kind == "int":
                return int(text, 0)
            if text.lower().lstrip("+-") in (".inf", ".nan"):
                return float(text.replace(".", ""))
            value = float(text)
            if math.isinf(value):
                raise ValueError
            return value
        except ValueError:
            raise _refusal(node, f"{shown(text)} is no {_KINDS[kind]}, or too large") from None

    def truth(self, node: ScalarNode) -> bool:
        text = self.construct_scalar(node)
        if text.lower() not in self.bool_values:
            raise _refusal(node, f"{shown(text)} is neither true nor false")
        return self.bool_values[text.lower()]

    def refuse(self, node: Node) -> None:
        tag = node.tag.removeprefix(_PREFIX)
        raise _refusal(node, f"the tag {shown(tag)} is not for settings: leave the tag out")


class _Dumper(yaml.SafeDumper):
    """PyYAML's dumper, which also quotes texts that ``_Loader`` would read as numbers."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _tag, _function in {
    "null": yaml.SafeLoader.construct_yaml_null,
    "bool": _Loader.truth,
    "int": _Loader.number,
    "float": _Loader.number,
    "str": _Loader.text,
    "seq": yaml.SafeLoader.construct_yaml_seq,
    "map": yaml.SafeLoader.construct_yaml_map,
}.items():
    _Loader.add_constructor(f"{_PREFIX}{_tag}", _function)
_Loader.add_constructor(None, _Loader.refuse)
for _tag, _pattern, _first in (
    ("bool", r"yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF",
     "yYnNtTfFoO"),
    ("int", r"[-+]?(0b[01]+|0o[0-7]+|0x[0-9a-fA-F]+|0|[1-9](_?[0-9])*)", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+"
     r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", "-+0123456789."),
    ("merge", r"<<", "<"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
):  # fmt: skip
    for _class in (_Loader, _Dumper):
        _rule = re.compile(rf"(?:{_pattern})\Z")
        _class.add_implicit_resolver(f"{_PREFIX}{_tag}", _rule, list(_first))
