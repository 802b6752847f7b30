"""Helpers for tests of pictures."""

from __future__ import annotations

import json

import pandas as pd
from matplotlib.figure import Figure

from tests.evaluation.frames import make_rows


def texts(figure: Figure) -> str:
    from matplotlib.text import Text

    return " | ".join(t.get_text() for t in figure.findobj(Text))


def sweep(lams: tuple[float, ...] = (0.1, 1.0, 10.0)) -> pd.DataFrame:
    names = {"ce": "{}", **{f"als(lam={x:g})": json.dumps({"epsilon": 0.1, "lam": x}) for x in lams}}
    rows = make_rows(methods=tuple(names))
    return rows.assign(method_params=rows["method"].map(names))
