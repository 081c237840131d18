"""Crossmaps by hand, what errors say, files in their published layout, and the recoding script at its bounds."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest

import reference
from suites.crossmaps import on_tables
from suites.crossmaps.method import (
    Crossmap,
    InvalidCrossmap,
    MissingMass,
    NotCovered,
    apply,
    compose,
    diagnose,
    extract,
    imputed_share,
    split_by,
)

LINKS = pd.DataFrame({"from": ["01", "02", "02"], "to": ["A", "A", "B"], "weight": [1.0, 0.25, 0.75]})


def test_values_by_hand() -> None:
    crossmap = Crossmap.from_links(LINKS)
    assert apply(crossmap, pd.Series({"01": 2.0, "02": 4.0}, name="t")).to_dict() == {"A": 3.0, "B": 3.0}
    assert crossmap.graph() == {"01": {"A": 1.0}, "02": {"A": 0.25, "B": 0.75}}
    up = Crossmap.from_graph({"A": {"all": 1.0}, "B": {"all": 1.0}, "C": {"other": 1.0}})
    assert compose(crossmap, up).graph() == {"01": {"all": 1.0}, "02": {"all": 1.0}}
    assert imputed_share(crossmap) == 2 / 3
    assert imputed_share(crossmap, pd.Series({"01": -6.0, "02": 2.0})) == 0.25


def test_errors_say_what_to_do_and_carry_the_rows() -> None:
    crossmap = Crossmap.from_links(LINKS)
    with pytest.raises(NotCovered, match=r"'9'.*add links") as uncovered:
        apply(crossmap, pd.Series({"9": math.nan}))
    assert uncovered.value.codes == ["9"]
    with pytest.raises(MissingMass, match="'02'"):
        apply(crossmap, pd.Series({"01": 1.0, "02": None}))
    with pytest.raises(InvalidCrossmap, match=r"bad sums: .'02', 1.5") as invalid:
        Crossmap.from_links(LINKS.assign(weight=[1.0, 0.75, 0.75]))
    assert list(invalid.value.problems) == ["bad_sums"]
    with pytest.raises(NotCovered):  # a number is no text that looks like it
        apply(crossmap, pd.Series({1: 1.0}))


def test_a_pair_twice_is_named_once_for_each_row() -> None:
    twice = pd.concat([LINKS, LINKS.iloc[[2]]], ignore_index=True)
    twice.loc[[2, 3], "weight"] = 0.375
    assert diagnose(twice)["duplicates"].index.tolist() == [2, 3]
    gaps = pd.DataFrame({"from": ["a", None, None], "to": ["A", "A", "A"], "weight": [1.0, 1.0, 1.0]})
    assert set(diagnose(gaps)) == {"missing_from"}


def test_category_types_and_integers_are_taken() -> None:
    typed = LINKS.astype({"from": "category", "to": "string"}).assign(weight=pd.array([1, 0.25, 0.75], dtype="Float64"))
    assert apply(Crossmap.from_links(typed), pd.Series({"01": 1, "02": 4})).sum() == 5


def test_split_by_leaves_out_codes_of_size_zero() -> None:
    groups = pd.Series({"a": "X", "b": "X", "c": "Y"})
    assert split_by(groups, pd.Series({"a": 0, "b": 2, "c": 1})).graph() == {"X": {"b": 1.0}, "Y": {"c": 1.0}}


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("1130", "xefe"), ("1129", None), ("1131", None), ("2000", None), ("2401", "teacher"), ("2400", "professional"),
        ("9320", None), ("9330", None), ("8325", "driver"), ("110", "armforces"), ("9999", "notclass"),
    ],
)  # fmt: skip
def test_occupation_bounds_are_exclusive(code: str, expected: str | None) -> None:
    assert on_tables.category(code) == expected


def test_a_script_that_loses_codes_is_refused() -> None:
    with pytest.raises(ValueError, match="'2000' nowhere"):
        extract(on_tables.category, ["6100", "2000"])


VALUES = """ctable,country,year,isic,isiccomb,value,utable,source,unit
14,076,1996,1511,1511A,1000,12,1,$
14,076,1996,1512,1511A,NA,12,0,$
14,076,1996,152,152,1000,12,1,$
14,076,1996,153,153,NA,12,1,$
14,840,2009,151,151,NA,12,1,$
"""


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The five files with a few lines each, in a folder of their own; their checksums are not those of the catalogue."""
    folder = tmp_path / "crossmaps"
    folder.mkdir()
    files = {
        "indstat_rev3_masked_subset.csv": VALUES,
        "indstat-country-lookup.csv": "code,name,iso3c,income_group\n076,Brazil,BRA,UM\n",
        "simple_links.csv": "xcode,alphacode,weight\nx1,A1,1\n",
        "timor_occupn_codes.csv": "occupn,n\n110,7\n",
        "isic_rev3_structure.txt": "Code          Description\r\n0111          Cereals\r\n",
    }
    for name, text in files.items():
        (folder / name).write_bytes(text.encode())
    from reference import uci

    class Entry:
        @staticmethod
        def require() -> Path:
            return folder

    monkeypatch.setattr(uci, "get", lambda name: Entry)
    monkeypatch.setattr(reference, "load", lambda name, split="all": uci.crossmaps(split))
    return folder


def test_files_are_read_as_text(published: Path) -> None:
    values = reference.load("crossmaps", "values")
    assert values["country"].tolist() == ["076"] * 4 + ["840"]
    assert values["value"].tolist() == ["1000", "", "1000", "", ""]
    assert reference.load("crossmaps", "isic").to_dict("list") == {"code": ["0111"], "description": ["Cereals"]}


def test_combinations_share_their_value_and_empty_blocks_are_absent(published: Path) -> None:
    ((block, links),) = on_tables.industries()
    assert block == ("076", "1996")
    found = Crossmap.from_links(links).graph()
    assert found == {"1511A": {"1511": 0.5, "1512": 0.5}, "152": {"152": 1.0}}
    table = published / "indstat_rev3_masked_subset.csv"
    table.write_text(table.read_text().replace("1511A,NA", "1511A,1000"))
    with pytest.raises(ValueError, match="several values: 1511A"):
        list(on_tables.industries())
