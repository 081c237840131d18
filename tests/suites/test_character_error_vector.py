"""The vector by hand, edit distance beside its recursion, composed pages, and the engine's path with a reader of ours."""

from __future__ import annotations

import random
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.torch import save_file

import reference
from suites.character_error_vector import on_engine, on_pages, pages
from suites.character_error_vector.contenders import Reader, best_cut, cer, edits, f1, total_variation
from suites.character_error_vector.layout import cote
from suites.character_error_vector.method import (
    cdd,
    count,
    decompose,
    decompose_micro,
    inside_boxes,
    spacer,
    spread,
    vectors,
)

STOCK = ["It", "was", "the", "best", "of", "times,", "it", "was", "the", "worst", "of", "times", "and", "long", "ago"]


def test_a_page_by_hand() -> None:
    characters, midpoints = spread(["tea", "hat"], [[0, 0, 30, 10], [0, 10, 30, 10]])
    assert characters == "teahat"
    assert midpoints.tolist() == [[5, 5], [15, 5], [25, 5], [5, 15], [15, 15], [25, 15]]
    page = vectors(characters, inside_boxes(midpoints, [[0, 0, 30, 20]]), read_true=["teahot"], read=["teahot"])
    assert list(vars(decompose(page)).values()) == pytest.approx([0, 1 / 6, 1 / 6, 1 / 6])
    # Read in two regions of which one lacks two characters and one has two more: micro sees them, macro does not.
    uneven = vectors(characters, owners=[0, 0, 0, 1, 1, 1], read_true=["t", "eahat"])
    assert decompose(uneven).ocr == 0
    assert decompose_micro(uneven).ocr == pytest.approx(2 / 12)


def test_distances_by_hand_in_any_dtype() -> None:
    g, p = count(["aab"], ["abc"])
    for dtype in (np.int8, np.uint64, np.float16, np.float32):
        assert spacer(g.astype(dtype), p.astype(dtype)).tolist() == [pytest.approx(1 / 3)]
    assert float(cdd([1, 1], [2, 0])) == pytest.approx(np.sqrt(0.311278), abs=1e-6)
    assert total_variation([2, 1, 0], [1, 1, 1]) == pytest.approx(1 / 3)


def test_errors_say_what_to_do() -> None:
    with pytest.raises(ValueError, match="put a single text into a list"):
        count("abc")
    with pytest.raises(ValueError, match="1 texts for 2 predicted regions"):
        vectors("a", np.ones((2, 1), dtype=bool), read=["a"])
    with pytest.raises(ValueError, match="use count"):
        spacer([1], [1, 2])
    with pytest.raises(ValueError, match="empty reference"):
        cer("", "a")


def test_surrogates_and_characters_beyond_sixteen_bits_count() -> None:
    (table,) = count(["\U0001f600a\ud800"])
    assert table.tolist() == [[1, 1, 1]]


def plain_edits(reference_text: str, found: str) -> int:
    row = list(range(len(found) + 1))
    for i, a in enumerate(reference_text, 1):
        previous, row = row, [i]
        for j, b in enumerate(found, 1):
            row.append(min(previous[j] + 1, row[-1] + 1, previous[j - 1] + (a != b)))
    return row[-1]


def test_edits_are_those_of_the_recursion() -> None:
    draw = random.Random(0)
    for _ in range(2_000):
        a, b = ("".join(draw.choices("abcd", k=draw.randrange(0, 40))) for _ in range(2))
        assert edits(a, b) == plain_edits(a, b)
    long = "".join(draw.choices("abcdefgh", k=300))
    assert edits(long, long[5:] + "xyz") == plain_edits(long, long[5:] + "xyz")


def test_channels_do_what_they_say() -> None:
    reader = Reader("abc", np.random.default_rng(0))
    assert reader.read("abcabc", 0.0) == "abcabc"
    assert reader.read("abcabc", 1.0, "deletions") == ""
    assert len(reader.read("abcabc", 1.0, "insertions")) == 12
    assert len(reader.read("abcabc", 1.0, "substitutions")) == 6


def test_cuts_are_chosen_by_f1() -> None:
    truth = np.array([True, True, False])
    assert f1(truth, truth) == 1
    assert f1(truth, ~truth) == 0
    assert f1(truth, np.ones(3, bool)) == pytest.approx(0.8)
    assert best_cut(truth, [~truth, truth, truth]) == 1


def test_composed_pages_lie_in_their_regions() -> None:
    page = pages.compose(STOCK, np.random.default_rng(3))
    inside = inside_boxes(page.midpoints, page.regions)
    assert (inside == (page.owners == np.arange(len(page.regions))[:, None])).all()
    assert "".join(text for _, _, text in page.lines).replace(" ", "").lower() == page.characters
    assert cote(page.regions, page.regions, page.size).score == 1
    assert (page.regions[:, :2] + page.regions[:, 2:]).max(0) == pytest.approx(np.array(page.size), abs=20)


def test_without_severity_the_layout_is_the_true_one() -> None:
    page = pages.compose(STOCK, np.random.default_rng(3))
    rng = np.random.default_rng(0)
    assert pages.misparse(page, 0.0, rng).tolist() == page.regions.tolist()
    assert {len(pages.misparse(page, 1.0, rng)) for _ in range(20)} > {len(page.regions)}
    counted, score = pages.measured(page, page.regions, 0.0, (rng, rng))
    assert set(vars(decompose(counted)).values()) == {0.0}
    assert score == 1


@pytest.fixture
def texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every text is the same short stock."""
    monkeypatch.setattr(pages, "words", lambda text: STOCK)
    monkeypatch.setattr(on_pages, "words", lambda text: STOCK)
    monkeypatch.setattr(on_engine, "words", lambda text: STOCK)


def test_triage_end_to_end(texts: None, monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr(on_pages, "COUNT", 20)
    save_file(on_pages.pages(seed=0), tmp_path / "pages.safetensors")
    path = str(tmp_path / "pages.safetensors")
    for arm in ("rule", "ratio", "cote", "total", "constant"):
        assert 0 <= on_pages.triage(arm=arm, pages=path)["f1"] <= 1
    assert on_pages.layouts(pages=path)["spearman"] < 0


def test_the_engine_reads_what_is_in_a_box(texts: None, monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    """The whole path with a stand-in for the engine, which reads a letter for every dark column of its picture."""

    def image_to_string(image, lang: str, config: str) -> str:
        assert (lang, config) == ("eng", "--psm 6")
        return "It " + "w" * int((np.asarray(image).min(0) < 100).sum())

    monkeypatch.setitem(sys.modules, "pytesseract", SimpleNamespace(image_to_string=image_to_string))
    found = on_engine.readings(seed=0, pages=2)
    assert found["regions"].shape[1] == 4
    assert found["pages"].shape == (2, 6)
    save_file(found, tmp_path / "readings.safetensors")
    measured = on_engine.engine(arm="spacer", pages=2, readings=str(tmp_path / "readings.safetensors"))
    assert measured["above"] == 0
    assert measured["regions"] == len(found["regions"])
    white = np.full((50, 50), 255, np.uint8)
    assert on_engine.recognised(white, np.array([60.0, 0.0, 20.0, 20.0])) == ""


@pytest.mark.parametrize("text", pages.TEXTS)
def test_texts_have_words(text: str) -> None:
    try:
        found = pages.words(text)
    except reference.DataError as error:
        pytest.skip(str(error))
    assert len(found) > 10_000
