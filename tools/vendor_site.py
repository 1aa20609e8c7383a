"""Fetch the table library of the site from the npm registry, and check its digest.

    python tools/vendor_site.py

writes the minified script, a style sheet and the licence into ``mpqbench/report/site/vendor``.
The files are committed: a build of the package needs no network.
"""

import base64
import hashlib
import io
import tarfile
import urllib.request
from pathlib import Path

NAME, VERSION = "tabulator-tables", "6.5.3"
INTEGRITY = (
    "nJ2QaqZzQvd9B4rf4LBnRxfb6sSqA/BX2OsXnSJ2d8k21oXDSTtFtOUrDap04a/6BDGivC/MByCxy43ugadJIg=="
)
FILES = {
    "package/dist/js/tabulator.min.js": "tabulator.min.js",
    "package/dist/css/tabulator_simple.min.css": "tabulator.min.css",
    "package/LICENSE": "tabulator.LICENSE",
}
VENDOR = Path(__file__).parent.parent / "mpqbench/report/site/vendor"


def unpack(package: bytes) -> dict[str, bytes]:
    """Return the files that are kept. Raises ValueError where the digest is another."""
    digest = base64.b64encode(hashlib.sha512(package).digest()).decode()
    if digest != INTEGRITY:
        raise ValueError(f"{NAME} {VERSION} has the digest {digest}, not {INTEGRITY}")
    files = {}
    with tarfile.open(fileobj=io.BytesIO(package)) as archive:
        for source, name in FILES.items():
            member = archive.extractfile(source)
            if member is None:
                raise ValueError(f"{NAME} {VERSION} has no file {source}")
            files[name] = _without_source_map(member.read())
    return files


def _without_source_map(text: bytes) -> bytes:
    """Drop the line that names a source map, which browsers would look for beside the page."""
    lines = text.rstrip().splitlines(keepends=True)
    return b"".join(line for line in lines if b"# sourceMappingURL=" not in line).rstrip() + b"\n"


def main() -> None:
    """Write the files of the package."""
    url = f"https://registry.npmjs.org/{NAME}/-/{NAME}-{VERSION}.tgz"
    with urllib.request.urlopen(url) as answer:
        files = unpack(answer.read())
    VENDOR.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (VENDOR / name).write_bytes(text)
        print(f"{VENDOR / name}: {len(text):,} bytes")


if __name__ == "__main__":
    main()
