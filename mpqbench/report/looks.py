"""How methods look: the same colour and marker in every figure of a project."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ..core.settings import digest_of
from ..records.schema import FULL_METHOD
from ..records.selection import WIDTHS, Selection

# The first six: Okabe and Ito, "Color Universal Design" (2008), without yellow, which is too light
# on white. The last two: Paul Tol, "Colour Schemes" (2021), scheme "muted". Together they can be
# told apart under the three common kinds of colour blindness.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#882255", "#332288")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
LINES = ("-", "--", ":", "-.")
FULL_COLOUR = "#444444"
CONTEXT = "#b4b4b4"
MOST = len(COLOURS)  # methods in colour in one figure

Look = dict[str, Any]

# A row has eight colours and eight markers; the same column of two rows shares the colour alone.
_BUILT_IN = (
    ("rtn", "treeq", "gptq", "smoothquant", "q-dit", "svdquant", "quarot", "vidit-q"),
    ("uniform", "treeq-peft", "ilp", "awq", "q-dit-search", "ptq4dit", "adaround", "brecq"),
    ("mse-clip", "tss", "clado", "random", "hawq", "autoquantize", "mixdq", "sqnr"),
    ("greedy", "treeq-search", "ilp-eng", "evolutionary", "tpe", "closed-form", "evolutionary-ilp",
     "ilp+verify"),
)  # fmt: skip
_PLACES = {name: at for at, name in enumerate(sum(_BUILT_IN, ()))}
_SLOTS = MOST * len(MARKERS)


def look(place: int) -> Look:
    """Return colour, marker and line of a place from 0 on; 64 differ in colour or marker."""
    row, column = divmod(place % _SLOTS, MOST)
    return {
        "color": COLOURS[column],
        "marker": MARKERS[(row + column) % len(MARKERS)],
        "linestyle": LINES[row % len(LINES)],
    }


def look_in_order(number: int) -> Look:
    """Return the look of the ``number``-th thing that is no method; grey from the ninth on."""
    grey = {} if number < MOST else {"color": CONTEXT}
    return look(number) | grey


def look_of_class(number: int) -> Look:
    """Return marker and line of the ``number``-th class of formats."""
    return {"marker": MARKERS[number % len(MARKERS)], "linestyle": LINES[number % len(LINES)]}


def places_of(methods: Iterable[str]) -> dict[str, int]:
    """Return a place for every method.

    A built-in method has its own place always. Another has one that its name decides; where it or
    its colour is another's in ``methods``, it moves on to the next that is free.
    """
    names = sorted(set(methods))
    places = {name: _PLACES[name] for name in names if name in _PLACES}
    for name in names:
        if name not in places and name != FULL_METHOD:
            first = int(digest_of(name)[:8], 16) % _SLOTS
            order = [(first + step) % _SLOTS for step in range(_SLOTS)]
            taken = set(places.values())
            colours = {place % MOST for place in taken}
            free = [place for place in order if place not in taken]
            fresh = [place for place in free if place % MOST not in colours]
            places[name] = (fresh or free or order)[0]
    return places


@dataclass(frozen=True, eq=False)
class Style:
    """How the figures of one project are drawn: ``methods`` are all of it, shown or not.

    ``usual`` is the width of a figure where ``selection`` has none.
    """

    selection: Selection = field(default_factory=lambda: Selection.model_validate({}))
    methods: tuple[str, ...] = ()
    usual: str = "column"

    @cached_property
    def _places(self) -> Mapping[str, int]:
        return places_of(self.methods)

    @property
    def width(self) -> float:
        """The width in inches."""
        is_given = "width" in self.selection.model_fields_set
        return self.selection.inches if is_given else WIDTHS[self.usual]

    def label(self, method: str) -> str:
        """Return what a method is called."""
        return self.selection.label(method)

    def look(self, method: str) -> Look:
        """Return the look of a method; the highlighted one is thicker and on top."""
        place = self._places.get(method)
        own = look(places_of([method]).get(method, 0) if place is None else place)
        own["color"] = self.selection.colours.get(method, own["color"])
        return own | {"zorder": 3.0} | (self._thick if method == self.selection.highlight else {})

    def looks(self, ranked: Sequence[str]) -> dict[str, Look]:
        """Return the look of every method of one figure.

        ``ranked`` are the methods, best first. Of more than eight, the highlighted one and the best
        are in colour, and the others are thin and grey: ``is_context`` tells them. Those in colour
        have different colours: where two would share one, built-in methods keep theirs, and the
        other takes the first that is free.
        """
        first = [name for name in ranked if name == self.selection.highlight]
        shown = [*first, *(name for name in ranked if name not in first)][:MOST]
        grey = {"color": CONTEXT, "linewidth": 0.7, "markersize": 3.0, "zorder": 2.0}
        looks = {name: self.look(name) | ({} if name in shown else grey) for name in ranked}
        taken: set[str] = set()
        for name in sorted(shown, key=lambda name: (self._priority(name), name)):
            if looks[name]["color"] in taken and name not in self.selection.colours:
                free = (colour for colour in COLOURS if colour not in taken)
                looks[name]["color"] = next(free, looks[name]["color"])
            taken.add(looks[name]["color"])
        return looks

    def _priority(self, method: str) -> int:
        """Return which methods keep their colours: those of the file, then by row of built-ins."""
        if method in self.selection.colours:
            return 0
        return 1 + _PLACES.get(method, _SLOTS) // MOST

    @property
    def _thick(self) -> Look:
        return {"linewidth": 2.0, "markersize": 5.5, "zorder": 3.6}


def is_context(look: Mapping[str, Any]) -> bool:
    """Return whether a look of ``Style.looks`` is that of grey context."""
    return bool(look["color"] == CONTEXT)
