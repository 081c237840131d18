"""A paper from the index is the paper that the loader reads, and whatever its check depended on is looked at again."""

from __future__ import annotations

from pathlib import Path

import pytest

from crossexam.facts import loader
from crossexam.facts.checked import checked_paper
from crossexam.facts.problems import BadFile
from tests.conftest import ROOT, TOML, Sandbox


@pytest.fixture(autouse=True)
def reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """An empty index for each test, and the names of the suites that the loader reads."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    names: list[str] = []
    real = loader.load_paper

    def read(folder: Path, *more: object) -> object:
        names.append(folder.name)
        return real(folder, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(loader, "load_paper", read)
    return names


@pytest.mark.parametrize(
    "folder", sorted(file.parent for file in ROOT.glob("suites/*/paper.toml")), ids=lambda f: f.name
)
def test_a_paper_of_this_project_is_the_same_from_the_index(folder: Path, reads: list[str]) -> None:
    first, again = checked_paper(folder), checked_paper(folder)
    assert reads == [folder.name]
    assert first is not again
    assert first == again
    assert repr(first) == repr(again)  # tuples are tuples, and whole numbers whole
    assert [first.series(claim) for claim in first.claims] == [again.series(claim) for claim in again.claims]


ARTIFACT = """
[artifact.weights]
of = "baselines.shared:weights"

[experiment.more]
tier = "exact"
uses = ["weights"]
"""
CODE = """
from baselines.shared import more


def sums(*, arm, seed, device):
    return {"total": 4.0}
"""
SHARED = """
from baselines.deeper import more


def weights(*, seed, device):
    return {}
"""


@pytest.fixture
def shared(sandbox: Sandbox) -> Sandbox:
    """A suite with an experiment and an artifact of the shared ground."""
    sandbox.suite(TOML + ARTIFACT, CODE)
    ground = sandbox.root / "baselines"
    ground.mkdir()
    (ground / "shared.py").write_text(SHARED)
    (ground / "deeper.py").write_text("def more(*, arm, seed, device, weights):\n    return {}\n")
    return sandbox


@pytest.mark.parametrize(
    ("file", "old", "new", "refusal"),
    [
        ("suites/toy/paper.toml", 'tier = "exact"', 'tier = "exakt"', "did you mean 'exact'?"),
        ("suites/toy/experiments.py", "def sums", "def summs", "did you mean 'summs'?"),
        ("suites/toy/experiments.py", "*, arm", "*, size, arm", "gives no 'size'"),
        ("baselines/shared.py", "def weights", "def loads", "names 'baselines.shared:weights'"),
        ("baselines/shared.py", "import more", "import less", "no function of that name"),
        ("baselines/deeper.py", "weights", "other", "gives 'weights', which more() does not take"),
    ],
)
def test_an_edit_is_checked(shared: Sandbox, file: str, old: str, new: str, refusal: str) -> None:
    folder, path = shared.root / "suites" / "toy", shared.root / file
    good = checked_paper(folder)
    text = path.read_text()
    path.write_text(text.replace(old, new))
    for _ in range(2):
        with pytest.raises(BadFile, match=refusal.replace("?", r"\?").replace("(", r"\(").replace(")", r"\)")):
            checked_paper(folder)
    path.write_text(text)
    assert checked_paper(folder) == good


def test_what_a_check_did_not_depend_on_is_not_looked_at(shared: Sandbox, reads: list[str]) -> None:
    folder = shared.root / "suites" / "toy"
    checked_paper(folder)
    (shared.root / "baselines" / "other.py").write_text("x = 1\n")
    (folder / "README.md").write_text("prose\n")
    checked_paper(folder)
    assert reads == ["toy"]
    (folder / "method.py").write_text("def add(a, b):\n    return b + a\n")  # a fault may quote it
    checked_paper(folder)
    assert reads == ["toy", "toy"]


def test_copies_are_papers_of_their_own(shared: Sandbox, reads: list[str]) -> None:
    one = shared.root / "suites" / "toy"
    two = one.with_name("toy_two")
    two.mkdir()
    for file in one.iterdir():
        (two / file.name).write_text(file.read_text())
    for _ in range(2):
        assert [(paper.slug, paper.folder) for paper in map(checked_paper, (one, two))] == [
            ("toy", one),
            ("toy-two", two),
        ]
    assert reads == ["toy", "toy_two"]


def test_a_ledger_with_a_date_is_read_anew(sandbox: Sandbox, reads: list[str]) -> None:
    entry = (
        'id = "n1"\nsetting = "s"\nmetric = "m"\nwhere = "w"\nprovenance = "abstract"\nstate = "listed"\nwhy = "old"\n'
    )
    folder = sandbox.suite(TOML + f"\n[[reported]]\n{entry}method = 2020-01-01\n")
    assert checked_paper(folder) == checked_paper(folder)
    assert reads == ["toy", "toy"]
