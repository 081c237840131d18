"""Ratings, clicks and test collections."""

from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import reference
from reference import DataError
from reference.recommendation import read_libfm
from reference.retrieval import smart_records
from tests.conftest import needed
from tests.reference.test_text import root  # noqa: F401  (a fixture)


def test_ml_100k() -> None:
    needed("ml-100k")
    found = reference.load("ml-100k")
    assert len(found) == 100_000 and (len(found.users), len(found.items)) == (943, 1_682)
    assert (found.user[0], found.item[0], found.rating[0], found.timestamp[0]) == (195, 241, 3, 881_250_949)
    assert np.bincount(found.rating).tolist() == [0, 6_110, 11_370, 27_145, 34_174, 21_201]
    assert found.items["title"].iloc[0] == "Toy Story (1995)" and found.items["Animation"].iloc[0] == 1
    assert found.users["occupation"].iloc[0] == "technician" and found.items.shape[1] == 21


def test_ml_1m_in_its_own_format(root: Path) -> None:  # noqa: F811
    folder = root / "ml-1m"
    folder.mkdir()
    (folder / "users.dat").write_text("1::F::1::10::48067\n2::M::56::16::70072\n")
    (folder / "movies.dat").write_text(
        "1::Toy Story (1995)::Animation|Comedy\n3::Misérables, Les (1995)::Drama\n", "latin-1"
    )
    (folder / "ratings.dat").write_text("2::3::5::978300760\n1::1::3::978302109\n")
    found = reference.load("ml-1m")
    assert found.user.tolist() == [1, 0] and found.item.tolist() == [1, 0] and found.rating.tolist() == [5, 3]
    assert found.items["title"].tolist()[1] == "Misérables, Les (1995)" and found.users["age"].tolist() == [1, 56]
    (folder / "ratings.dat").write_text("2::2::5::978300760\n")
    with pytest.raises(DataError, match="do not list"):
        reference.load("ml-1m")


def test_frappe_heldout() -> None:
    needed("frappe-heldout")
    for split, count in (("validation", 57_722), ("test", 28_860)):
        found = reference.load("frappe-heldout", split)
        assert found.features.shape == (count, 10) and set(np.unique(found.target)) == {0, 1}
        assert (np.diff(found.features, axis=1) > 0).all() and found.features.max() < found.count
        assert 0.3 < found.target.mean() < 0.4  # two negatives were drawn for each positive


def test_bad_libfm(tmp_path: Path) -> None:
    path = tmp_path / "x.libfm.gz"
    for text, message in (
        ("1 3:1\n-1 4:1 5:1\n", "not libFM text"),
        ("1 3:2\n", "not libFM text"),
        ("1 9:1\n", "outside"),
        ("0 3:1\n", "other than 1 and -1"),
    ):
        path.write_bytes(gzip.compress(text.encode()))
        with pytest.raises(DataError, match=message):
            read_libfm(path, 9)


def test_cranfield() -> None:
    needed("cranfield")
    found = reference.load("cranfield")
    assert (len(found.documents), len(found.queries), len(found.judgments)) == (1_400, 225, 1_837)
    assert Counter(judgment.grade for judgment in found.judgments) == {-1: 225, 1: 128, 2: 387, 3: 734, 4: 363}
    assert {judgment.query for judgment in found.judgments} == set(range(225))
    assert found.documents[0].text.startswith("an experimental study of a wing in a propeller slipstream")
    assert sum(not document.text for document in found.documents) == 2
    assert found.queries[0].startswith("what similarity laws must be obeyed")
    # the document that answers the first query best speaks of its subject
    assert "aeroelastic" in found.documents[183].text


def test_smart_records_keep_marks_inside_of_the_text() -> None:
    text = ".I 1\n.T\na title\n.A\nb.\n.B\n\n.W\nwords\n.A\nmore\n.I 2\n.W\nonly\n"
    assert list(smart_records(text, "TABW")) == [
        {"T": "a title\n", "A": "b.\n", "B": "\n", "W": "words\n.A\nmore\n"},
        {"T": "", "A": "", "B": "", "W": "only\n"},
    ]
