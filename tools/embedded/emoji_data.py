"""Emoji pictures and their words, from npm packages such as ``emoji-datasource-google``."""

import hashlib
import json
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

SIZE = 32
WORDS = 8  # of a prompt, as the transformer has so many caption tokens
HELD_OUT = 0.1
FEWEST_USES = 2  # other trained names that each word of a held-out name must be in
FILLERS = {"and", "of", "the", "with"}
TONES = {
    "1F3FB": "light-skin",
    "1F3FC": "medium-light-skin",
    "1F3FD": "medium-skin",
    "1F3FE": "medium-dark-skin",
    "1F3FF": "dark-skin",
}


@dataclass(frozen=True)
class Picture:
    """One picture: its prompts, the name first, and the indices of what it shows.

    ``name`` indexes distinct emoji whatever their skin tone and style; emoji whose pictures are
    equal, as some flags are, have one index. ``held_out`` prompts are never trained on.
    """

    file: Path
    prompts: tuple[str, ...]
    subcategory: int
    name: int
    held_out: bool


@dataclass(frozen=True)
class EmojiSet:
    """Images uint8 (N, 3, 32, 32) on white, their pictures, and the titles of the indices."""

    images: torch.Tensor
    pictures: tuple[Picture, ...]
    subcategories: tuple[str, ...]
    names: tuple[str, ...]

    @property
    def labels(self) -> torch.Tensor:
        """Indices of subcategory and name, int64 (N, 2)."""
        return torch.tensor([(p.subcategory, p.name) for p in self.pictures])

    @property
    def trained(self) -> torch.Tensor:
        """Indices of the pictures whose names are not held out."""
        return torch.tensor([i for i, p in enumerate(self.pictures) if not p.held_out])

    def vocabulary(self) -> tuple[str, ...]:
        """Words of the trained prompts, sorted."""
        prompts = (prompt for p in self.pictures if not p.held_out for prompt in p.prompts)
        return tuple(sorted({word for prompt in prompts for word in prompt.split()}))


def load_emoji(folders: tuple[Path, ...], seed: int) -> EmojiSet:
    """Read unpacked packages, one per style; with several, the style is the last word of a prompt.

    Pictures of two people of different skin tones are left out: 32 x 32 pixels do not show them.
    Raises FileNotFoundError where a folder is not such a package.
    """
    packages = [(_style(folder), folder) for folder in folders]
    entries = _entries(folders[0])
    subcategories = tuple(sorted({entry["subcategory"] for entry in entries}))
    codes, names = _distinct(packages[0], entries)
    held_out = _held_out(entries, codes, seed)
    taken = {" ".join(name_words(entry["name"])) for entry in entries}
    pictures: list[Picture] = []
    for entry, is_held in zip(entries, held_out, strict=True):
        short = " ".join(name_words(entry["short_name"]))
        titles = [" ".join(name_words(entry["name"]))]
        if re.search("[a-z]{2}", short) and short not in taken:  # "+1" and "-1" are the same words
            titles.append(short)
            taken.add(short)
        group = subcategories.index(entry["subcategory"]), codes[entry["unified"]], is_held
        for style, folder in packages:
            last = [style] if len(packages) > 1 else []
            for tone, image in _variants(entry):
                prompts = tuple(_prompt(title, [*tone, *last]) for title in titles)
                pictures.append(Picture(folder / "img" / style / "64" / image, prompts, *group))
    images = np.stack([read_picture(picture.file) for picture in pictures])
    stacked = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    return EmojiSet(stacked, tuple(pictures), subcategories, names)


def read_picture(path: Path) -> np.ndarray:
    """Read a PNG onto white and reduce it to uint8 (32, 32, 3)."""
    with Image.open(path) as picture:
        drawn = picture.convert("RGBA")
    page = Image.new("RGBA", drawn.size, "white")
    page.alpha_composite(drawn)
    return np.asarray(page.convert("RGB").resize((SIZE, SIZE), Image.Resampling.LANCZOS))


def name_words(name: str) -> list[str]:
    """Return the words of a name in lower case, without accents, signs and words like "with"."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    words = re.findall("[a-z0-9]+|[#*]", plain.replace("'", ""))
    return [word for word in words if word not in FILLERS]


def _prompt(title: str, last: list[str]) -> str:
    return " ".join([*title.split()[: WORDS - len(last)], *last])


def _style(folder: Path) -> str:
    found = sorted(path.parent.name for path in folder.glob("img/*/64"))
    if len(found) != 1 or not (folder / "emoji.json").is_file():
        raise FileNotFoundError(
            f"{folder} holds no emoji.json with img/STYLE/64: run `npm pack "
            "emoji-datasource-google`, unpack the file, and give its folder `package` with --data"
        )
    return found[0]


def _entries(folder: Path) -> list[dict]:
    """Return the entries of the package, the first of those whose names have the same words."""
    entries = json.loads((folder / "emoji.json").read_text(encoding="utf-8"))
    first: dict[str, dict] = {}
    for entry in sorted(entries, key=lambda entry: entry["unified"]):
        first.setdefault(" ".join(name_words(entry["name"])), entry)
    return list(first.values())


def _variants(entry: dict) -> list[tuple[list[str], str]]:
    tones = entry.get("skin_variations", {})
    return [([], entry["image"])] + [
        ([TONES[code]], tones[code]["image"]) for code in TONES if code in tones
    ]


def _distinct(package: tuple[str, Path], entries: list[dict]) -> tuple[dict, tuple[str, ...]]:
    """Return the index of each entry by its code, the same for equal pictures, and the titles."""
    style, folder = package
    titles: dict[str, str] = {}
    digests = {}
    for entry in entries:
        picture = read_picture(folder / "img" / style / "64" / entry["image"])
        digest = hashlib.sha256(picture.tobytes()).hexdigest()
        titles.setdefault(digest, " ".join(name_words(entry["name"])))
        digests[entry["unified"]] = digest
    index = {digest: number for number, digest in enumerate(titles)}
    return {code: index[digest] for code, digest in digests.items()}, tuple(titles.values())


def _held_out(entries: list[dict], codes: dict[str, int], seed: int) -> list[bool]:
    """Choose a tenth of the names whose words are all in other, trained names.

    A word that was never trained has no embedding: such a name can only be trained on. Nor is a
    name held out whose picture is also another's.
    """
    names = [set(name_words(entry["name"])) for entry in entries]
    uses = Counter(word for name in names for word in name)
    owners = Counter(codes.values())
    wanted, chosen = round(HELD_OUT * len(names)), [False] * len(names)
    for index in np.random.default_rng(seed).permutation(len(names)):
        alone = owners[codes[entries[index]["unified"]]] == 1
        if sum(chosen) < wanted and alone and all(uses[w] > FEWEST_USES for w in names[index]):
            chosen[index] = True
            uses.subtract(names[index])
    return chosen
