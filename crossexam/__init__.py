"""CrossExam: does this paper's method do what the paper says, on ground one can trust, and does it still today?

How a claim travels, room by room; each room imports only from those before it:

- `facts`     `paper.toml` becomes a checked `Paper`: its claims, rules, experiments, ledger, faults.
- `runs`      the paper's trials are planned, fingerprinted, run one process each, and kept as rows.
- `judging`   rows and rules become verdicts.
- `watching`  verdicts are doubted (audit), repeated (nightly), compared, and traced back (bisect).
- `showing`   the command line and the report, which say all of this to a person.

Beside them, `index` keeps what was found out about texts, papers and modules, by their content. Nothing before
`runs.worker` imports torch: what lists, plans or judges is fast.

For notebooks: `crossexam.results("ldr-loss")` and `crossexam.verdicts()` are pandas tables.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

__version__ = "0.1.0"


def results(paper: str = "", experiment: str = "", *, current: bool = True) -> pd.DataFrame:
    """Finished trials of a paper, or of all, as a table: those of this machine and those committed with the project.

    Args:
        paper: its slug, such as "ldr-loss"; all papers where it is empty.
        experiment: the name of one experiment; all where it is empty.
        current: only rows of the code as it stands.

    Returns:
        A line a trial. Columns: paper, experiment, tier, arm, seed; `params.NAME` of its grid; health; `metrics.NAME`
        (numbers, or lists of them); seconds, peak_memory_gib (GiB); device, processor, started (UTC, ISO 8601),
        committed (bool), fingerprint. Rows of several machines may stand there: `device` and `processor` tell them
        apart.

    Raises:
        UnknownPaper: there is no such paper; the message has the nearest name.
        BadFile: its paper.toml is broken; the message says where.
    """
    from crossexam.showing import frames

    return frames.results(paper, experiment, current=current)


def verdicts(paper: str = "") -> pd.DataFrame:
    """The verdicts of all claims of a paper, or of all papers, from the rows that there are, as a table.

    Args:
        paper: its slug; all papers where it is empty.

    Returns:
        A line a claim. Columns: paper, claim, says, tier, experiment, kind (of rule), expected, verdict (None without
        one), as_expected, health, cause (why there is no verdict); estimate, low, high of the point that decides, p,
        p_holm; seeds (how many), registered, committed (whether it rests on committed rows), device, processor, day.

    Raises:
        UnknownPaper, BadFile: as `results`.
    """
    from crossexam.showing import frames

    return frames.verdicts(paper)
