"""``python -m oodbench``: the same as the command ``oodbench``."""

from __future__ import annotations

import sys


def main() -> None:
    """Load the command line and run it; an interruption while it loads is one line too."""
    try:
        from oodbench.cli import main as commands
    except KeyboardInterrupt:
        sys.exit("interrupted")
    commands.main()


if __name__ == "__main__":
    main()
