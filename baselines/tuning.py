"""Choosing hyper-parameters on validation data, for all arms alike.

    rate = choose({rate: error(trained(rate), validation) for rate in RATES}, smallest=True)

An arm whose hyper-parameter is fixed while another's is chosen is not compared with it: give both the same budget.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeVar

S = TypeVar("S")


def choose(scores: Mapping[S, float], *, smallest: bool = False) -> S:
    """The setting with the largest validation score, or the smallest loss; of equal ones the first.

    NaN never wins: a run that diverged is no choice. Raises ValueError where there is no score, or only NaN.
    """
    sign = -1.0 if smallest else 1.0
    finite = {setting: sign * float(score) for setting, score in scores.items() if not math.isnan(float(score))}
    if not finite:
        raise ValueError(f"no setting of {list(scores)} has a validation score: nothing can be chosen")
    return max(finite, key=finite.__getitem__)
