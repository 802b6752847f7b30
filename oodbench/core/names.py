"""What may be a name that a user gives. It will stand in terminals, tables, pages, pictures and spreadsheets,
and must be text in all of them and act in none."""

from __future__ import annotations

import re
import unicodedata

from oodbench.core.errors import one_line

MOST = 200
"""Characters of a name that a user writes."""

FORMULA = frozenset("=+-@＝＋－＠\t\r\n")
"""First characters of a cell that a spreadsheet takes for a formula, wide forms included."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)


def objection(name: str, most: int = MOST) -> str:
    """Why a text cannot be a name, for the end of a message; empty where it can.

    Refused are characters that are not seen (control characters, marks that turn the direction of writing,
    those of no width, line ends), a first character that makes a spreadsheet's formula of it, spaces at its
    ends, and more than `most` characters.

    Example:
        >>> objection("als (ours)"), objection("=1+1")
        ('', "begins with '=', which makes a formula of it in a spreadsheet")
    """
    hidden = next((c for c in name if not c.isprintable()), "")
    if hidden:
        return f"holds {_described(hidden)}, which is not seen"
    if name != name.strip():
        return "begins or ends with a space"
    if name and name[0] in FORMULA:
        return f"begins with {name[0]!r}, which makes a formula of it in a spreadsheet"
    if len(name) > most:
        return f"has {len(name)} characters; at most {most} are allowed"
    return ""


def _described(character: str) -> str:
    name = unicodedata.name(character, "a control character")
    return f"U+{ord(character):04X} ({name.lower()})"


def no_formula(cell: str) -> str:
    """A cell of a CSV file that a spreadsheet shows as the text it is: one that would be a formula gets an
    apostrophe before it. A number stays as it is.

    Example:
        >>> no_formula("=1+1"), no_formula("-0.5"), no_formula("msp")
        ("'=1+1", '-0.5', 'msp')
    """
    return f"'{cell}" if cell and cell[0] in FORMULA and not _NUMBER.fullmatch(cell) else cell


def visible(text: str) -> str:
    """A text in one line, without what is not seen; of a visible one every space is kept."""
    return text if text.isprintable() else one_line(text, 1000)
