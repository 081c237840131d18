"""CrossExam: does this paper's method do what the paper says, on ground one can trust, and does it still today?

How a claim travels, room by room; each room imports only from those before it:

- `facts`     `paper.toml` becomes a checked `Paper`: its claims, rules, experiments, ledger, faults.
- `runs`      the paper's trials are planned, fingerprinted, run one process each, and kept as rows.
- `judging`   rows and rules become verdicts.
- `watching`  verdicts are doubted (audit), repeated (nightly), compared, and traced back (bisect).
- `showing`   the command line and the report, which say all of this to a person.

Beside them, `index` keeps what was found out about texts, papers and modules, by their content. Nothing before
`runs.worker` imports torch: what lists, plans or judges is fast.
"""

__version__ = "0.1.0"
