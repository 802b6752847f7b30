"""What failed of one run, and which rows that costs."""

from __future__ import annotations

from collections.abc import Iterable


class Failures:
    """Reasons by scorer and set. A set that cannot be read costs every scorer the rows that read it; a scorer
    that fails on one set costs the rows of that set alone.

    Example:
        >>> failures = Failures()
        >>> failures.add("far.npz: logits are not all finite", on="far")
        >>> failures.why("msp", ["test", "far"]), failures.why("msp", ["test"])
        ('far.npz: logits are not all finite', '')
    """

    def __init__(self) -> None:
        self._reasons: dict[tuple[str, str], str] = {}

    def add(self, reason: str, *, scorer: str = "", on: str = "") -> bool:
        """Note a reason for one scorer, or for all; on one set, or on all. Whether it was news."""
        news = reason not in self._reasons.values()
        self._reasons.setdefault((scorer, on), reason)
        return news

    def why(self, scorer: str, sets: Iterable[str] = ()) -> str:
        """The first reason why a scorer (``""``: the network alone) has no numbers that read these sets;
        empty where it has them."""
        places = [(s, on) for on in ("", *sets) for s in dict.fromkeys(("", scorer))]
        return next((self._reasons[p] for p in places if p in self._reasons), "")
