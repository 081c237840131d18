"""Rows and verdicts as pandas tables, for notebooks and for `export --format csv|parquet`. Imports no torch."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from crossexam.facts.project import find_paper, project_root, results_folder, suite_folders
from crossexam.runs.committed import committed_texts, counted_rows
from crossexam.runs.environment import processor
from crossexam.runs.plan import Selection, plan
from crossexam.runs.rows import Row, canonical
from crossexam.runs.source import Project
from crossexam.runs.store import Export, Store, StoreError

if TYPE_CHECKING:
    import pandas as pd

VERDICT_COLUMNS = (
    "paper", "claim", "says", "tier", "experiment", "kind", "expected", "verdict", "as_expected", "health", "cause",
    "estimate", "low", "high", "p", "p_holm", "seeds", "registered", "committed", "device", "processor", "day",
)  # fmt: skip


def results(paper: str = "", experiment: str = "", *, current: bool = True) -> pd.DataFrame:
    """See `crossexam.results`."""
    root = project_root()
    slugs = [find_paper(root, paper).slug] if paper else list(suite_folders(root))
    rows, texts = [], dict[str, Any]()
    with Store(results_folder(root)) as store:
        for slug in slugs:
            own = store.export(slug)
            committed = counted_rows(root, slug)
            rows += [*committed, *own.rows]
            texts |= committed_texts(root, slug) | own.texts
    found = list({row.id: row for row in rows if row.health == "done" and experiment in ("", row.experiment)}.values())
    if current:
        project = Project(root)
        subjects = {trial.subject for slug in slugs for trial in plan(find_paper(root, slug), project, Selection())}
        found = [row for row in found if row.subject in subjects]
    marks = {row.id for slug in slugs for row in counted_rows(root, slug)}
    return table_of(Export(found, texts, {}), marks)


def table_of(export: Export, committed: Collection[str]) -> pd.DataFrame:
    """A line a row; `params.` and `metrics.` columns as far as some row has them. `committed` are ids of rows."""
    import pandas as pd

    processors = {key: processor(text) for key, text in export.texts.items()}
    records = [
        {
            "paper": row.paper, "experiment": row.experiment, "tier": row.tier, "arm": row.arm, "seed": row.seed,
            **{f"params.{name}": value for name, value in row.params.items()}, "health": row.health,
            **{f"metrics.{name}": value for name, value in row.metrics.items()}, "seconds": row.seconds,
            "peak_memory_gib": row.peak_memory_gib, "device": row.device,
            "processor": processors.get(row.environment, ""), "started": row.started,
            "committed": row.id in committed, "fingerprint": row.fingerprint,
        }
        for row in sorted(export.rows, key=_order)
    ]  # fmt: skip
    names = dict.fromkeys(name for record in records for name in record)
    order = ("paper", "experiment", "tier", "arm", "seed", "params.", "health", "metrics.")

    def place(name: str) -> int:
        return next((number for number, start in enumerate(order) if name.startswith(start)), len(order))

    return pd.DataFrame.from_records(records, columns=sorted(names, key=place))


def _order(row: Row) -> tuple[str, str, str, str, int, str]:
    return row.paper, row.experiment, row.arm, canonical(row.params), row.seed, row.started


def verdicts(paper: str = "") -> pd.DataFrame:
    """See `crossexam.verdicts`."""
    import pandas as pd

    from crossexam.watching import session

    root = project_root()
    project = Project(root)
    records = []
    with Store(results_folder(root)) as store:
        for slug in [paper] if paper else suite_folders(root):
            loaded = find_paper(root, slug)
            for one in session.judge(loaded, project, store, Selection()):
                decisive, source = one.decisive, one.source
                values = (
                    loaded.slug, one.claim.id, one.claim.says, loaded.tier(one.claim), one.claim.experiment,
                    one.claim.rule.kind, one.claim.expected, one.verdict, one.as_expected, one.health, one.cause,
                    decisive and decisive.estimate, decisive and decisive.low, decisive and decisive.high, one.p,
                    one.p_holm, len(one.seeds), one.registered, bool(source and source.committed),
                    source.device if source else "", source.processor if source else "", source.day if source else "",
                )  # fmt: skip
                records.append(values)
    return pd.DataFrame.from_records(records, columns=list(VERDICT_COLUMNS))


def write_table(table: pd.DataFrame, kind: str, out: Path | None) -> None:
    """Write a table as CSV (lists as JSON) or Parquet. Raises StoreError where that cannot be."""
    lists = [name for name in table if name.startswith("metrics.") and table[name].map(type).eq(list).any()]
    try:
        if kind == "csv":
            flat = table.assign(**{name: table[name].map(_as_text) for name in lists})
            flat.to_csv(cast("Any", sys.stdout if out is None else out), index=False)
        else:  # one type a column: what is a list somewhere is one everywhere
            mixed = {
                name: table[name].map(lambda value: value if isinstance(value, list) else [value]) for name in lists
            }
            table.assign(**mixed).to_parquet(out, index=False)
    except ImportError as error:
        raise StoreError("Parquet needs pyarrow: python -m pip install 'crossexam[data]'") from error
    except OSError as error:
        raise StoreError(f"cannot write {out}: {error}") from error


def _as_text(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list) else value
