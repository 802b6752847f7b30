"""``python -m oodbench``: the same as the command ``oodbench``."""

from oodbench.cli.main import main

main()
