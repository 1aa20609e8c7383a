"""``python -m mpqbench``: the command line."""

from .cli.main import main

main()
