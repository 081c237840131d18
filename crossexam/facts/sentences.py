"""Sentences stand alone: they are read by people who have this project and perhaps the paper, nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator

from crossexam.facts.paper import Paper

CODE = re.compile(r"\(?([A-Za-z]\d{1,3}[a-z]?)(?:[:.,)]|\s)")
"""How a sentence begins that begins with the number of a document: "E6: ...", "S3. ...", "n7 is ..."."""
NAMES = frozenset({"F1", "H0", "H1", "L0", "L1", "L2", "R2", "k1", "k2", "k3", "p0", "q0"})
"""What looks like such a number and is a name of the field."""
SAME = re.compile(r"(?:^|[.:;] )the same\b|\bthe same(?:[.,;:]|$)", re.IGNORECASE)
"""A clause that begins or ends with "the same" says nothing to those who have not read the one before."""


def flaw(sentence: str) -> str:
    """Why a sentence does not stand alone; empty where nothing is seen."""
    begins = CODE.match(sentence)
    if begins and begins[1] not in NAMES:
        return f"begins with {begins[1]}, the number of a document that readers do not have"
    return 'says "the same" without saying as what' if SAME.search(sentence) else ""


def sentences(paper: Paper) -> Iterator[tuple[str, str]]:
    """(where it stands, the sentence) of all that a paper's file says to readers."""
    for number, headline in enumerate(paper.headlines, 1):
        yield f"headline {number}", headline.says
    for experiment in paper.experiments.values():
        if experiment.protocol and experiment.protocol.deviations:
            yield f"experiment {experiment.name}, deviations", experiment.protocol.deviations
    for claim in paper.claims:
        yield f"claim {claim.id}", claim.says
        if claim.finding:
            yield f"claim {claim.id}, finding", claim.finding
