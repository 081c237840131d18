"""Lines and tables: what fits is aligned, what does not is wrapped, and colours are for terminals alone."""

from __future__ import annotations

import sys

import pytest

from crossexam.showing.terminal import Styled, bold, say, table

ROWS = [("a", "exact", "short"), ("longer-name", "small", "a title of several words that is too long")]


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "COLUMNS", "TERM"):
        monkeypatch.delenv(name, raising=False)


def test_columns_stand_below_their_headers(capsys: pytest.CaptureFixture[str]) -> None:
    table(ROWS, ("name", "tier", "title"))
    assert capsys.readouterr().out.splitlines() == [
        "name         tier   title",
        "a            exact  short",
        "longer-name  small  a title of several words that is too long",
    ]


def test_the_widest_column_is_wrapped(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    table(ROWS)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "a            exact  short",
        "longer-name  small  a title of several",
        "                    words that is too",
        "                    long",
    ]
    assert max(map(len, lines)) <= 40


@pytest.mark.parametrize("columns", ["1", "8", "15"])
def test_a_page_that_is_too_narrow_loses_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    table([("abcdefgh", "two words", "")])
    printed = "".join(capsys.readouterr().out.split())
    assert sorted(printed) == sorted("abcdefghtwowords")


def test_wide_characters_and_lines_within_a_cell(capsys: pytest.CaptureFixture[str]) -> None:
    table([("熵", "x"), ("éa\u0301", "y"), ("one\nthree", "z")])
    assert capsys.readouterr().out.splitlines() == ["熵     x", "éa\u0301     y", "one    z", "three"]


def test_a_table_without_rows_is_its_header(capsys: pytest.CaptureFixture[str]) -> None:
    table([], ("name", "tier"))
    assert capsys.readouterr().out == "name  tier\n"


def test_brackets_are_text(capsys: pytest.CaptureFixture[str]) -> None:
    say(bold("[bold]"), ": [/] [red]")
    assert capsys.readouterr().out == "[bold]: [/] [red]\n"


def test_colours_are_for_terminals(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    say(bold("x"), " y")
    table([(Styled("red", "red"), "y"), (Styled("", "dim"), "z")])
    assert capsys.readouterr().out == "\x1b[1mx\x1b[0m y\n\x1b[31mred\x1b[0m  y\n     z\n"
    for name, value in (("NO_COLOR", "1"), ("TERM", "dumb")):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            say(bold("x"))
            assert capsys.readouterr().out == "x\n"
