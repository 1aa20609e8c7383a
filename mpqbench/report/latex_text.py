"""Text in LaTeX: every character printed as it stands, and about how wide it is."""

import re
import unicodedata

from ..records.columns import printable

_RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹⁻"
_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "%": r"\%", "_": r"\_", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    "[": "{[}", "]": "{]}", "*": "{*}",  # after a line break they would be its options
    "`": r"\textasciigrave{}", '"': r"\char34{}", "±": r"$\pm$", "\u00d7": r"$\times$",
    "·": r"$\cdot$", "≈": r"$\approx$", "→": r"$\to$", "≤": r"$\leq$", "≥": r"$\geq$",
    "∞": r"$\infty$", "√": r"$\surd$",
}  # fmt: skip
_GREEK = (
    " alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau "
    "upsilon phi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega "
)
_KNOWN = "\u2013\u2014\u2018\u2019\u201c\u201d\u2026\u20ac"  # dashes, quotes, dots, euro
# Widths of letters of Computer Modern at 8 pt, in units of their size, rounded up.
_WIDTHS = {
    "ijl.,:;'!|": 0.33, "Ifrst()[]- ": 0.43, "0123456789cez": 0.54, "J/": 0.56,
    "m#": 0.89, "MW%ÆŒ": 1.1, "w+=<>±\u00d7≈&@⁻": 0.84,
}  # fmt: skip
_LETTER, _CAPITAL, _OTHER, _BOLD = 0.6, 0.84, 1.07, 1.16
_NUMBERED = 4.3  # of U+4E2D


def escape(text: str) -> str:
    """Return ``text`` so that LaTeX prints every character as it stands.

    A character that pdfLaTeX has no letter for, such as an emoji, is printed as its number. Raised
    digits are no smaller than \\scriptsize, so that they can be read in a narrow table.
    """
    plain = "".join(map(_letter, printable(text)))
    plain = re.sub("-(?=-)", "-{}", plain)  # two together would be one dash
    return re.sub(f"[{_RAISED}]+", _raised, plain)


def breakable(text: str) -> str:
    """Return ``text`` as ``escape``, but it may also be broken into lines after a sign."""
    parts = re.split(r"(?<=[^\w\s])(?=\w)|(?<=_)(?=\w)", printable(text))
    return r"\hspace{0pt}".join(escape(f"{part}|")[: -len(_SPECIAL["|"])] for part in parts)


def _raised(digits: re.Match[str]) -> str:
    text = digits[0].translate(str.maketrans(_RAISED, "0123456789-"))
    return rf"\raisebox{{0.6ex}}{{\scriptsize ${text}$}}"


def _letter(letter: str) -> str:
    """Return LaTeX of one character."""
    if letter in _SPECIAL:
        return _SPECIAL[letter]
    if letter.isascii() or "\u00a1" <= letter <= "\u017f" or letter in _RAISED + _KNOWN:
        return letter
    *words, name = unicodedata.name(letter, "none").replace("LAMDA", "LAMBDA").split()
    name = name.capitalize() if "CAPITAL" in words else name.lower()
    is_greek = words[:1] == ["GREEK"] and words[-1] == "LETTER" and f" {name} " in _GREEK
    return f"$\\{name}$" if is_greek else f"U+{ord(letter):04X}"


def text_width(text: str, points: float, bold: bool = False) -> float:
    """Return about how wide plain ``text`` is, in points, with letters of ``points``."""
    every = sum(_letter_width(letter) for letter in text)
    return every * points * (_BOLD if bold else 1.0)


def _letter_width(letter: str) -> float:
    for letters, size in _WIDTHS.items():
        if letter in letters:
            return size
    if ord(letter) <= 0x17F or letter in _RAISED:
        return _CAPITAL if letter.isupper() else _LETTER
    return _NUMBERED if _letter(letter).startswith("U+") else _OTHER
