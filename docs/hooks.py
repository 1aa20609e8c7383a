"""Hooks of mkdocs: every page has the address that its file has in the repository.

Links between files then hold on GitHub and on the site alike, also those that leave ``docs/``.
"""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from nbconvert import MarkdownExporter

# What is on the site, from the root of the repository: pages, and files that they link to.
PATTERNS = (
    "*.md", "LICENSE", "CITATION.cff", "docs/**/*.md", "examples/**/README.md", "examples/*.ipynb",
    "benchmarks/*.md", "leaderboards/*.yaml", "mpqbench/lab/suites/*.yaml",
    *(f"leaderboards/**/*.{kind}" for kind in ("md", "png", "csv", "yaml", "tex")),
)  # fmt: skip


def _root(config: MkDocsConfig) -> Path:
    return Path(str(config.config_file_path)).parent


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the pages of results, wherever they are."""
    root = _root(config)
    pages = sorted(root.glob("leaderboards/*/README.md"))
    first = root / "leaderboards/README.md"
    pages = [first, *pages] if first.is_file() else pages
    if config.nav is not None and pages:
        config.nav.insert(3, {"Results": [page.relative_to(root).as_posix() for page in pages]})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Replace the files of ``docs/`` by those of ``PATTERNS``, and add the notebooks as pages."""
    root = _root(config)
    for file in list(files):
        if file.src_dir and Path(file.src_dir) == Path(config.docs_dir):
            files.remove(file)
    found = {path for pattern in PATTERNS for path in root.glob(pattern) if path.is_file()}
    found = {path for path in found if path.name != "about.md"}  # a part of the page beside it
    for path in sorted(found):
        name = path.relative_to(root).as_posix()
        files.append(File(name, str(root), config.site_dir, config.use_directory_urls))
        if path.suffix == ".ipynb":
            text, resources = MarkdownExporter().from_filename(str(path))
            files.append(File.generated(config, name.replace(".ipynb", ".md"), content=text))
            for output, content in resources["outputs"].items():
                at = (path.parent / output).relative_to(root).as_posix()
                files.append(File.generated(config, at, content=content))
    return files
