"""What the appendices of version 2 print, by table: the one copy of these numbers."""

from __future__ import annotations

import numpy as np

# Table 18: 16 days of events, change of price in % and index of sentiment.
EVENT_CHANGES = np.array(
    [-1.64, 0.87, -8.49, -6.86, -7.04, -1.07, -7.72, 5.71, 0.37, -0.16, 0.72, 1.30, 4.15, 2.89, -7.34, 0.85]
)
EVENT_INDEX = np.array(
    [-0.45, 0.30, -0.70, -0.90, -0.65, -0.30, -0.90, 0.90, -0.25, -0.60, -0.10, 0.80, 0.85, 0.95, -0.85, 0.80]
)

# Appendix G.4.3: 23 days of 2015, three indices of sentiment and the change of the market's index in %.
DAYS = {
    "A": np.array([
        -0.85, -0.96, -0.89, 0.05, -0.73, -0.96, -0.07, -0.07, -0.91, -0.98, -0.82, 0.23, -0.92, -0.95, -0.96, -0.85,
        -0.97, -0.05, 0.88, -0.31, 0.25, -0.73, -0.96,
    ]),
    "B": np.array([
        -0.81, -0.96, -0.82, 0.04, -0.83, -0.96, 0.08, -0.05, -0.93, -0.98, -0.90, 0.23, -0.94, -0.97, -0.98, -0.95,
        -0.97, -0.02, 0.88, -0.25, 0.28, -0.68, -0.97,
    ]),
    "C": np.array([
        0.45, 0.15, 0.05, 0.28, -0.55, -0.45, -0.85, -0.82, 0.05, -0.75, -0.92, 0.1, 0.35, -0.88, -0.95, -0.85, -0.75,
        -0.6, -0.8, -0.9, -0.45, 0.1, 0.82,
    ]),
}  # fmt: skip
"""A: 20 % encoded text and human text; B: human text alone; C: human text and 20 % of a standard model's."""
MARKET = np.array([
    0.87, -2.00, -3.47, 1.65, -3.67, -6.42, 2.19, 2.48, -3.46, -7.40, -3.34, 0.00, -5.23, -3.48, -5.77, 2.41, -1.29,
    5.76, 4.54, 1.04, 2.41, -0.34, -3.03,
])  # fmt: skip
UNIT = 0.01
"""What the last digit of all these is worth."""

# Correlations and p-values: appendices G.2, G.4.1 (2015, n = 23) and G.4.2 (2024, n = 13).
EVENT_CORRELATION = (0.744, 9.45e-4, 16)
CORRELATIONS_2015 = {"A": (0.761, 2.46e-5, 23), "B": (0.757, 2.94e-5, 23), "C": (-0.121, 0.581, 23)}
CORRELATIONS_2024 = {"A": (0.758, 0.00266, 13), "B": (0.699, 0.00787, 13), "C": (0.684, 0.00989, 13)}

# Table 5, fear: omega, alpha, alpha for falls, beta of GJR-GARCH(1,1) by quadrant.
GARCH = {
    "A": (0.03, 0.05, 0.15, 0.88), "B": (0.01, 0.10, 0.08, 0.80), "C": (0.02, 0.05, 0.00, 0.85),
    "D": (0.04, 0.03, 0.10, 0.92), "E": (0.05, 0.02, 0.20, 0.90), "F": (0.01, 0.12, 0.07, 0.78),
}  # fmt: skip
CRISIS_INDEX = np.array([1.5572, 1.7706, 1.7007])  # Table 10; the text says 1.54 +- 0.12
CRISIS_MEAN, CRISIS_SPREAD = 1.54, 0.12
MEMBERSHIP = np.array([0.1953, 0.2285, 0.0756, 0.1629, 0.1496, 0.1882])

# Tables 22, 27: drawdown, net return (%), Sharpe ratio in 2015.
DRAWDOWN = {"encoded": 12.2, "human": 23.2, "static": 20.3}
LOSS = {"encoded": 13.22, "human": 21.56}
COST, ALPHA = 0.26, 8.6

# Table 29: N, W and p of Shapiro and Wilk by group; appendix G.7: sigma and mu of sentence lengths, CV in %.
NORMALITY = {
    "standard": (155, 0.982, 0.053),
    "A": (113, 0.915, 1.27e-8),
    "B": (90, 0.973, 0.002),
    "C": (103, 0.932, 2.31e-11),
}
LENGTHS = {"standard": (10.41, 23.65, 43.96), "A": (11.23, 19.12, 58.69), "C": (23.58, 36.50, 64.60)}

# Table 9: Welch's t and one-tailed p of 8 against 14; means of both, the multiplier.
WELCH = {"fear": (1.78, 0.042), "joy": (2.05, 0.025), "uncertainty": (1.82, 0.039), "sadness": (1.55, 0.063)}
WELCH_SIZES = (8, 14)
MULTIPLIERS = {"fear": (0.200, 0.105, 1.91), "joy": (0.180, 0.085, 2.12), "uncertainty": (0.220, 0.120, 1.83)}

# Table 15: JSD of a standard model and of encoded text to human text, improvement in %.
STYLE = {
    "sentence length": (0.2430, 0.1444, 40.6), "adjectives": (0.1309, 0.0647, 50.6),
    "noun and verb": (0.2035, 0.0771, 62.1), "volatility": (0.1652, 0.0963, 41.7),
}  # fmt: skip
# Table 16: accepted, submitted, %.
ACCEPTED = {"human": (11, 84, 13.1), "encoded": (24, 33, 72.7)}
# Table 17: articles, mean views, maximum.
VIEWS = {"encoded": (20, 11_089, 377_000), "human": (61, 7_314, 47_000)}
# Table 8: samples by emotion; the text speaks of 46.
HOLIDAYS, HOLIDAYS_TEXT = np.array([35, 10, 10, 10, 10]), 46
# Table 14: intraclass correlations of two models over 26 texts: novices, veterans, macro.
AGREEMENT = np.array([0.926, 0.902, 0.772])
