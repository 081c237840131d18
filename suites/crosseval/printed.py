"""What the paper prints: scores of models from 1 to 100, `-` where none was run. The one copy of these numbers."""

from __future__ import annotations

import math

import pandas as pd

SKILLS = ("English", "Reasoning", "Coding", "Image", "Tool", "Long Context", "Spanish")
PAIRS = (
    ("Coding", "Reasoning"), ("Image", "Reasoning"), ("Long Context", "Coding"), ("Spanish", "Reasoning"),
    ("Spanish", "Image"), ("Tool", "Coding"), ("Tool", "Reasoning"),
)  # fmt: skip
ROUNDING = 0.005
"""The largest rounding error of a printed score."""

TABLE_3_SKILLS = """
GPT-4o mini        73.64 69.31 71.17 65.23     - 76.18 74.51
GPT-4o             76.12 72.84 72.03 73.02     - 77.17 78.10
o1-mini            75.25 81.02 80.70     -     - 76.74 79.09
o1-preview         78.59 82.30 79.09     -     - 78.90 79.64
Claude 3 Haiku     63.87 56.81 61.64 51.00     - 69.68 67.95
Claude 3 Sonnet    69.19 62.88 66.09 56.56     - 72.40 69.43
Claude 3 Opus      68.94 66.22 69.68 61.76     - 74.69 74.01
Claude 3.5 Sonnet  75.00 71.54 74.01 68.57     - 74.32 76.12
Gemini 1.5 Flash   66.59 63.25 65.60 56.81     - 73.52 70.05
Gemini 1.5 Pro     71.91 70.61 69.56 69.56     - 76.51 74.26
Gemini 1.5 Pro Exp 75.87 73.02 69.56 71.17     - 75.37 76.24
Reka Edge          52.23 45.30 39.36 48.89     - 37.01 52.48
Reka Flash         63.87 62.63 57.68 56.38     - 55.82 68.07
Reka Core          71.54 68.69 62.38 56.94     - 60.90 73.77
Llama 3.1 8B       64.11 53.97 55.08     - 42.09 59.53 55.70
Llama 3.1 70B      68.82 62.88 65.47     - 47.04 68.82 64.48
Llama 3.1 405B     73.52 69.31 69.19     - 47.90 69.31 72.59
"""
"""Table 3, left part: columns in the order of SKILLS."""

TABLE_3_PAIRS = """
GPT-4o mini        72.03 65.60 65.10 69.56 65.10     -     -
GPT-4o             73.33 71.29 67.95 73.52 74.63 45.80 54.41
o1-mini            79.21     - 76.12 79.83     -     -     -
o1-preview         79.58     - 73.39 80.70     -     -     -
Claude 3 Haiku     58.05 49.88 58.67 57.80 52.85     -     -
Claude 3 Sonnet    61.14 54.71 58.79 60.77 60.52     -     -
Claude 3 Opus      63.37 53.84 58.17 67.33 64.11     -     -
Claude 3.5 Sonnet  71.41 69.43 65.72 70.55 69.81     -     -
Gemini 1.5 Flash   64.73 51.74 62.13 65.10 53.10     -     -
Gemini 1.5 Pro     69.68 67.95 65.97 69.56 62.26     -     -
Gemini 1.5 Pro Exp 67.33 69.06 65.97 71.54 70.18     -     -
Reka Edge          41.34 28.60 20.43 40.97 45.06     -     -
Reka Flash         56.94 43.45 37.63 59.66 55.82     -     -
Reka Core          63.62 46.66 41.25 68.01 54.71     -     -
Llama 3.1 8B       55.08     - 45.06 46.42     - 46.91 43.82
Llama 3.1 70B      67.21     - 50.50 59.41     - 50.25 49.45
Llama 3.1 405B     66.96     - 54.58 64.48     - 52.23 51.74
"""
"""Table 3, right part: columns in the order of PAIRS."""

TABLE_4 = """
Claude 3 Haiku, as it is      56.81 51.00 67.95 49.88 57.80 52.85
Claude 3 Haiku, Reasoning     59.66 50.01 68.20 46.42 59.04 52.11
Claude 3 Haiku, Image         55.45 54.71 64.98 54.46 57.55 55.08
Claude 3 Haiku, Spanish       55.20 53.59 67.21 50.13 56.81 53.72
Gemini 1.5 Flash, as it is    63.25 56.81 70.05 51.74 65.10 53.10
Gemini 1.5 Flash, Reasoning   66.71 62.50 71.29 54.46 66.59 59.04
Gemini 1.5 Flash, Image       59.91 63.00 69.43 51.61 62.13 61.76
Gemini 1.5 Flash, Spanish     61.39 61.89 69.06 52.60 64.86 58.42
"""
"""Table 4: a model with a system prompt of principles for one skill; three skills, then their three pairs."""
TABLE_4_SKILLS = ("Reasoning", "Image", "Spanish")
TABLE_4_PAIRS = (("Image", "Reasoning"), ("Spanish", "Reasoning"), ("Spanish", "Image"))

AVERAGES = {"skills": 65.72, "pairs": 58.67}
"""Section 4.2."""


def skills() -> pd.DataFrame:
    """17 models x 7 skills, NaN where none was run."""
    return _table(TABLE_3_SKILLS, SKILLS)


def pairs() -> pd.DataFrame:
    """17 models x 7 pairs of skills."""
    return _table(TABLE_3_PAIRS, PAIRS)


def prompted() -> pd.DataFrame:
    """(model, prompt) x three skills and three pairs; the prompt is "as it is" or the skill it was written for."""
    table = _table(TABLE_4, (*TABLE_4_SKILLS, *TABLE_4_PAIRS))
    table.index = pd.MultiIndex.from_tuples([tuple(name.split(", ")) for name in table.index])
    return table


def _table(text: str, columns: tuple[str | tuple[str, str], ...]) -> pd.DataFrame:
    """Lines of a name and one number a column."""
    rows = [line.rsplit(maxsplit=len(columns)) for line in text.strip().splitlines()]
    values = [[math.nan if cell == "-" else float(cell) for cell in row[1:]] for row in rows]
    return pd.DataFrame(values, index=[row[0].strip() for row in rows], columns=pd.Index(columns, tupleize_cols=False))
