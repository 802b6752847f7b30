"""Pairs on the data that scikit-learn carries."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from oodbench.core.dataset import Pair
from oodbench.core.registry import pair

# The known digits of the open-set literature's five MNIST trials (Vaze et al., ICLR 2022, osr_splits.py).
_KNOWN = ([2, 4, 5, 9, 8, 3], [3, 2, 6, 9, 4, 0], [5, 8, 3, 2, 4, 6], [3, 7, 8, 4, 0, 5], [6, 3, 4, 9, 8, 2])
# Noise is made at the digits' own size: shrunk from a larger one it would average out to grey.
_NOISE = {"size": 8, "channels": 1}


@pair(
    "digits", source="oodbench's own; class splits of github.com/sgvaze/osr_closed_set_all_you_need for MNIST"
)
def digits(
    *, split: Annotated[int, Field(ge=0, lt=5)] = 0, imbalance: Annotated[float, Field(gt=0, le=1)] = 1.0
) -> Pair:
    """Six known of scikit-learn's ten digits by `split`; near: the other four; far: photograph patches and
    noises.

    `imbalance`: training images of the last known class over those of the first, falling exponentially
    between; test sets stay balanced."""
    known = _KNOWN[split]
    balanced = {"digits": {"classes": known}}
    return Pair(
        id=balanced if imbalance == 1 else {"long-tailed": {"of": balanced, "imbalance": imbalance}},
        near={"unknown-digits": {"digits": {"classes": [d for d in range(10) if d not in known]}}},
        far={
            "photo-patches": "photo-patches",
            "gaussian": {"noise": _NOISE | {"kind": "gaussian"}},
            "uniform": {"noise": _NOISE | {"kind": "uniform"}},
            "blobs": {"noise": _NOISE | {"kind": "blobs"}},
        },
        ood_val={"noise": _NOISE | {"kind": "rademacher"}},
        outliers={"noise": _NOISE | {"kind": "rademacher"}},
    )
