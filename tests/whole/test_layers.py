"""Importing the door of the package loads nothing heavy."""

from __future__ import annotations

import subprocess
import sys


def test_help_and_version_do_not_import_torch() -> None:
    code = """
import sys
from oodbench.cli.main import main
try:
    main({args!r})
except SystemExit:
    pass
assert not {{"torch", "pandas", "matplotlib", "sklearn"}} & set(sys.modules)
"""
    for args in (["--help"], ["--version"], ["run", "--help"], ["run"], ["nothing"]):
        done = subprocess.run([sys.executable, "-c", code.format(args=args)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
