"""Figures as vector graphics, each with a text alternative and the numbers behind it."""

from __future__ import annotations

import io
import json
import math
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from crossexam.facts.paper import Paper
from crossexam.facts.rules import EffectRule, ExactRule, LevelRule, OrderRule, PairedRule, ResourceRule, TrendRule
from crossexam.judging.judge import Judgement
from crossexam.runs.rows import Row, canonical, digest

COLOURS = {"reproduced": "#0072b2", "not reproduced": "#d55e00", "inconclusive": "#7f7f7f"}
"""Okabe and Ito's, told apart by the colour-blind; the marker says the same."""
MARKERS = {"reproduced": "o", "not reproduced": "X", "inconclusive": "D"}
ARMS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#000000", "#f0e442")
MOST_PANELS = 6
"""Panels of one figure: more than these nobody compares."""


@dataclass(frozen=True)
class Interval:
    """One claim on a scale of its own: estimate and interval, and what it is held against."""

    name: str
    verdict: str
    estimate: float
    low: float
    high: float
    band: tuple[float, float]
    """What is allowed; infinite where it is open."""


@dataclass(frozen=True)
class Panel:
    """Values of arms: dots by seed, or lines over an axis."""

    title: str
    axis: str
    metric: str
    arms: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]]
    """{arm: (x, y)}; for dots x is the seed."""
    lines: bool
    logarithmic: bool = False


@dataclass(frozen=True)
class Plan:
    """What the figures of a paper show, as plain data that a process can be handed."""

    slug: str
    intervals: tuple[Interval, ...] = ()
    dots: tuple[Panel, ...] = ()
    curves: tuple[Panel, ...] = ()


@dataclass(frozen=True)
class Figure:
    """A drawn figure."""

    id: str
    title: str
    alternative: str
    svg: str
    table: tuple[tuple[str, ...], ...] = field(default=())
    """The numbers behind it, the first row its head."""


def figures_of(paper: Paper, judgements: Sequence[Judgement], rows: Sequence[Row]) -> Plan:
    """Decide what is drawn."""
    intervals = [_interval(one) for one in judgements if one.verdict and not isinstance(one.claim.rule, ExactRule)]
    return Plan(
        paper.slug, tuple(one for one in intervals if one), tuple(_dots(paper, rows))[:MOST_PANELS],
        tuple(_curves(paper, rows))[:MOST_PANELS],
    )  # fmt: skip


def _interval(one: Judgement) -> Interval | None:
    finding, rule = one.decisive, one.claim.rule
    if finding is None or not all(map(math.isfinite, (finding.estimate, finding.low, finding.high))):
        return None
    band = (-math.inf, math.inf)
    if isinstance(rule, LevelRule):
        band = (rule.reported - rule.margin, rule.reported + rule.margin)
    elif isinstance(rule, EffectRule):
        band = (rule.gain - rule.margin, rule.gain + rule.margin)
    elif isinstance(rule, OrderRule):
        band = (rule.margin, math.inf)
    elif isinstance(rule, ResourceRule):
        band = (-math.inf, rule.at_most)
    elif isinstance(rule, TrendRule):
        if rule.target is not None:
            band = (rule.target - rule.margin, rule.target + rule.margin)
        else:
            low = -math.inf if rule.at_least is None else rule.at_least
            band = (low, math.inf if rule.at_most is None else rule.at_most)
    return Interval(one.claim.id, one.verdict or "", finding.estimate, finding.low, finding.high, band)


def _dots(paper: Paper, rows: Sequence[Row]) -> list[Panel]:
    """A panel for each metric and point that a paired claim compares, all arms of it."""
    panels: dict[tuple[str, str, str], Panel] = {}
    for claim in paper.claims:
        rule = claim.rule
        if isinstance(rule, PairedRule):
            mine = [row for row in rows if row.experiment == claim.experiment and rule.metric in row.metrics]
            for point in sorted({canonical(row.params) for row in mine if _at(rule.at, row.params)}):
                here = [row for row in mine if canonical(row.params) == point]
                title = ", ".join([claim.experiment, *(f"{k} {v}" for k, v in here[0].params.items())])
                panels.setdefault(
                    (claim.experiment, rule.metric, point),
                    Panel(title, "seed", rule.metric, _by_arm(here, rule.metric), lines=False),
                )
    return list(panels.values())


def _at(at: Mapping[str, Any], params: Mapping[str, Any]) -> bool:
    return all(params[name] in (value if isinstance(value, list) else [value]) for name, value in at.items())


def _by_arm(rows: Sequence[Row], metric: str) -> dict[str, tuple[tuple[float, ...], tuple[float, ...]]]:
    arms: dict[str, dict[int, float]] = {}
    for row in rows:
        value = row.metrics[metric]
        if isinstance(value, int | float):
            arms.setdefault(row.arm, {})[row.seed] = float(value)
    ordered = {arm: sorted(values.items()) for arm, values in sorted(arms.items())}
    return {
        arm: (tuple(float(seed) for seed, _ in pairs), tuple(y for _, y in pairs)) for arm, pairs in ordered.items()
    }


def _curves(paper: Paper, rows: Sequence[Row]) -> list[Panel]:
    """Metrics over the parameter that a trend claim names, and metrics that are lists, as means over seeds."""
    panels: dict[tuple[str, str], Panel] = {}
    for claim in paper.claims:
        rule = claim.rule
        mine = [row for row in rows if row.experiment == claim.experiment]
        if isinstance(rule, TrendRule) and rule.over:
            arms: dict[str, dict[float, list[float]]] = {}
            for row in mine:
                value = row.metrics.get(rule.metric)
                if isinstance(value, int | float) and _at(rule.at, row.params):
                    arms.setdefault(row.arm, {}).setdefault(float(row.params[rule.over]), []).append(float(value))
            lines = {arm: _means(values) for arm, values in sorted(arms.items())}
            positive = all(v > 0 for xs, ys in lines.values() for v in (*xs, *ys))
            panels.setdefault(
                (claim.experiment, rule.metric),
                Panel(
                    claim.experiment,
                    rule.over,
                    rule.metric,
                    lines,
                    lines=True,
                    logarithmic=positive and rule.fit == "exponent",
                ),
            )
    for row in rows:
        for name, value in row.metrics.items():
            if isinstance(value, list) and len(value) >= 8 and (row.experiment, name) not in panels:
                panels[row.experiment, name] = _list_panel(row, name, rows)
    return [panel for panel in panels.values() if panel.arms]


def _means(values: Mapping[float, Sequence[float]]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return tuple(sorted(values)), tuple(sum(values[x]) / len(values[x]) for x in sorted(values))


def _list_panel(first: Row, name: str, rows: Sequence[Row]) -> Panel:
    arms: dict[str, list[list[float]]] = {}
    for row in rows:
        value = row.metrics.get(name)
        if row.experiment == first.experiment and row.params == first.params and isinstance(value, list):
            arms.setdefault(row.arm, []).append([float(one) for one in value])
    lines = {}
    for arm, lists in sorted(arms.items()):
        length = min(map(len, lists))
        lines[arm] = (
            tuple(float(index) for index in range(length)),
            tuple(sum(one[index] for one in lists) / len(lists) for index in range(length)),
        )
    return Panel(first.experiment, "index", name, lines, lines=True)


@dataclass(frozen=True)
class Cost:
    """One loss beside the first of the file: time with its quartiles, and peak memory, both as ratios to it."""

    name: str
    time: tuple[float, float, float]
    """Lower quartile, median, upper quartile."""
    memory: float


def costs_of(record: Mapping[str, Any]) -> list[Cost]:
    """The costs in a file that `nox -s bench -- --costs` wrote, cheapest first; the first loss there is the measure."""
    losses = record["losses"]
    base = next(iter(losses.values()))
    found = []
    for name, one in losses.items():
        low, median, high = (value / base["seconds"][1] for value in one["seconds"])
        found.append(Cost(name, (low, median, high), one["peak_mib"] / base["peak_mib"]))
    return sorted(found, key=lambda cost: cost.time[1])


def draw_costs(record: Mapping[str, Any]) -> Figure:
    """Every loss on one axis, in multiples of cross-entropy: a circle for time, a diamond for memory."""
    from matplotlib.figure import Figure as Canvas

    _settle("costs")
    costs = costs_of(record)
    names, rows = [cost.name for cost in costs], range(len(costs))
    high = 0.22 * len(costs) + 0.8
    canvas = Canvas(figsize=(7.2, high))
    axes = canvas.add_axes((0.24, 0.6 / high, 0.74, 1 - 0.9 / high))
    axes.hlines(rows, [cost.time[0] for cost in costs], [cost.time[2] for cost in costs], ARMS[0], linewidth=2)
    axes.plot([cost.time[1] for cost in costs], rows, "o", color=ARMS[0], markersize=5, label="time (bar: quartiles)")
    axes.plot([cost.memory for cost in costs], rows, "D", color=ARMS[1], markersize=4, label="peak memory")
    axes.axvline(1, color="#7f7f7f", linewidth=0.8)
    axes.set_xscale("log", base=2)
    ticks = [2.0**power for power in range(-1, 5)]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_yticks(rows, names)
    axes.set_ylim(len(costs) - 0.4, -0.6)
    axes.set_xlabel(f"multiples of {next(iter(record['losses']))}")
    axes.legend(loc="lower right", frameon=False, fontsize=8)
    words = (
        f"Time and peak memory of {len(costs)} losses of logits, forward and backward, as multiples of PyTorch's "
        f"cross-entropy, on {record['device']} with PyTorch {record['torch']}. The table below has the numbers."
    )
    head = ("loss", "time", "lower quartile", "upper quartile", "peak memory")
    table = tuple((c.name, *(f"{v:.2f}" for v in (c.time[1], c.time[0], c.time[2], c.memory))) for c in costs)
    return Figure("costs", "What each loss costs", words, _svg(canvas, "costs", words), (head, *table))


def draw(plan: Plan, kept: Path) -> list[Figure]:
    """The figures of a paper, drawn unless the same ones are among the `kept`. Runs in processes of its own."""
    from importlib.metadata import version

    code = Path(__file__).read_text(encoding="utf-8")
    file = kept / f"{digest([asdict(plan), code, version('matplotlib')])}.json"
    if file.is_file():
        return [
            Figure(**{**one, "table": tuple(map(tuple, one["table"]))}) for one in json.loads(file.read_text("utf-8"))
        ]
    figures = drawn_anew(plan)
    kept.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps([asdict(figure) for figure in figures]), encoding="utf-8")
    partial.rename(file)
    return figures


def _settle(salt: str) -> None:
    """Text stays text, ids come from the content, no date: the same rows give the same bytes."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({
        "svg.fonttype": "none", "svg.hashsalt": salt, "font.size": 9, "axes.spines.top": False,
        "axes.spines.right": False, "figure.facecolor": "none", "axes.facecolor": "none",
    })  # fmt: skip


def drawn_anew(plan: Plan) -> list[Figure]:
    """The figures of a paper, whatever is kept."""
    _settle(plan.slug)
    figures = []
    if plan.intervals:
        figures.append(_forest(plan))
    if plan.dots:
        figures.append(_panels(plan.dots, "seeds", "Every seed of every arm that is compared"))
    if plan.curves:
        figures.append(
            _panels(plan.curves, "curves", "Curves and trends, means over seeds; power laws as fitted lines")
        )
    return figures


def _forest(plan: Plan) -> Figure:
    from matplotlib.figure import Figure as Canvas

    count = len(plan.intervals)
    canvas = Canvas(figsize=(7.2, 0.24 * count + 0.5))
    axes = canvas.add_axes((0.42, 0.3 / (0.24 * count + 0.5), 0.56, 1 - 0.4 / (0.24 * count + 0.5)))
    shown = list(reversed(plan.intervals))
    places = [_on_its_own_scale(one) for one in shown]
    bars: dict[str, Any] = {"height": 0.8, "color": "#009e73", "alpha": 0.18, "linewidth": 0}
    axes.barh(range(count), [one[4] - one[3] for one in places], left=[one[3] for one in places], **bars)
    for verdict, colour in COLOURS.items():  # together, for every call to matplotlib costs a millisecond
        rows = [row for row, one in enumerate(shown) if one.verdict == verdict]
        axes.hlines(rows, [places[row][1] for row in rows], [places[row][2] for row in rows], colour, linewidth=2)
        axes.plot([places[row][0] for row in rows], rows, MARKERS[verdict], color=colour, markersize=5)
    axes.set_ylim(-0.6, count - 0.4)
    axes.set_xlim(0, 1)
    axes.set_yticks(range(count), [one.name for one in shown])
    axes.set_xticks([])
    axes.set_xlabel("each claim on its own scale; shaded: what is allowed")
    head = ("claim", "verdict", "estimate", "low", "high", "allowed from", "to")
    table = tuple(
        (one.name, one.verdict, *(f"{value:.4g}" for value in (one.estimate, one.low, one.high, *one.band)))
        for one in plan.intervals
    )
    inside = sum(one.verdict == "reproduced" for one in plan.intervals)
    words = (
        f"{count} claims with their intervals; {inside} lie within what is allowed. The table below has the numbers."
    )
    return Figure("intervals", "Claims against their margins", words, _svg(canvas, "intervals", words), (head, *table))


def _on_its_own_scale(one: Interval) -> tuple[float, ...]:
    """Estimate, low, high and the ends of the band, in 0..1 between the outermost of them."""
    finite = [value for value in (one.low, one.high, *one.band) if math.isfinite(value)]
    lowest, highest = min(finite), max(finite)
    reach = (highest - lowest) or abs(highest) or 1.0
    values = (one.estimate, one.low, one.high, *one.band)
    return tuple(min(max((value - lowest + 0.15 * reach) / (1.3 * reach), 0.0), 1.0) for value in values)


def _panels(panels: Sequence[Panel], name: str, title: str) -> Figure:
    from matplotlib.figure import Figure as Canvas

    columns = min(3, len(panels))
    rows = math.ceil(len(panels) / columns)
    high = 2.4 * rows + 0.4
    canvas = Canvas(figsize=(7.2, high))
    # Fixed margins: matplotlib's layout engines draw everything twice.
    canvas.subplots_adjust(left=0.09, right=0.99, top=1 - 0.3 / high, bottom=1.0 / high, hspace=1.1 / 1.4, wspace=0.38)
    axes = canvas.subplots(rows, columns, squeeze=False).ravel()
    arms = sorted({arm for panel in panels for arm in panel.arms})
    colours = {arm: ARMS[index % len(ARMS)] for index, arm in enumerate(arms)}
    table: list[tuple[str, ...]] = [("panel", "metric", "arm", panels[0].axis, "value")]
    for one, panel in zip(axes, panels, strict=False):
        for index, (arm, (x, y)) in enumerate(panel.arms.items()):
            if panel.lines:
                joined = {"linewidth": 0} if panel.logarithmic else {"linewidth": 1.2}
                one.plot(x, y, color=colours[arm], marker="." if len(x) < 20 else None, **joined)
                if panel.logarithmic and len(set(x)) > 1:
                    exponent, fitted = power_law(x, y)
                    one.plot(x, fitted, color=colours[arm], linewidth=1.2)
                    table.append((panel.title, panel.metric, f"{arm}, fitted exponent", "", f"{exponent:.4g}"))
            else:
                one.plot([index] * len(y), y, "o", color=colours[arm], markersize=4, alpha=0.8)
            table += [(panel.title, panel.metric, arm, f"{a:.4g}", f"{b:.6g}") for a, b in zip(x, y, strict=True)]
        if not panel.lines:
            _pair(one, panel)
            one.set_xticks(range(len(panel.arms)), list(panel.arms), rotation=30, ha="right")
        if panel.logarithmic:
            one.set_xscale("log")
            one.set_yscale("log")
        one.set_title(_short(panel.title), fontsize=8)
        one.set_ylabel(panel.metric, fontsize=8)
        if panel.lines:
            one.set_xlabel(panel.axis, fontsize=8)
    for spare in axes[len(panels) :]:
        spare.set_axis_off()
    if any(panel.lines for panel in panels):
        handles = [_handle(colours[arm]) for arm in arms]
        canvas.legend(handles, arms, loc="lower center", ncols=min(4, len(arms)), frameon=False, fontsize=8)
    words = f"{title}: {len(panels)} panels, arms {', '.join(arms)}. The table below has the numbers."
    return Figure(name, title, words, _svg(canvas, name, words), tuple(table))


def power_law(x: Sequence[float], y: Sequence[float]) -> tuple[float, list[float]]:
    """The exponent of the power law through positive points, least squares on logarithms, and its values at x."""
    logs = [math.log(value) for value in x], [math.log(value) for value in y]
    slope, intercept = statistics.linear_regression(*logs)
    return slope, [math.exp(intercept + slope * value) for value in logs[0]]


def _pair(axes: Any, panel: Panel) -> None:
    """Thin lines join the values of a seed over the arms."""
    from matplotlib.collections import LineCollection

    values = [dict(zip(x, y, strict=True)) for x, y in panel.arms.values()]
    seeds = sorted(set().union(*values))
    lines = [[(index, one[seed]) for index, one in enumerate(values) if seed in one] for seed in seeds]
    axes.add_collection(LineCollection(lines, colors="#7f7f7f", linewidths=0.5, zorder=0))


def _handle(colour: str) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], color=colour)


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:39] + "…"


def _svg(canvas: Any, name: str, words: str) -> str:
    """The figure as text for a page: inline, named for a screen reader, in the page's own ink, with ids of its own."""
    buffer = io.StringIO()
    canvas.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    for mark in ('id="', "url(#", 'href="#'):
        text = text.replace(mark, f"{mark}{name}-")
    label = escape(words, {'"': "&quot;"})
    return text.replace("<svg", f'<svg role="img" aria-label="{label}"', 1).replace("#000000", "currentColor")
