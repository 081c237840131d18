"""The report: the same rows give the same bytes, all text is escaped, and a browser is content with the pages."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from crossexam.facts.paper import Paper
from crossexam.facts.project import find_paper, suite_folders
from crossexam.runs.committed import committed_audits, committed_rows
from crossexam.runs.plan import Selection, plan
from crossexam.runs.rows import Row
from crossexam.runs.source import Project
from crossexam.showing.report.figures import Panel, Plan, costs_of, drawn_anew, figures_of, power_law
from crossexam.showing.report.site import Site, build, gather
from crossexam.showing.report.status import results_readme, with_status
from tests.conftest import ROOT, Sandbox

WICKED = '<script>alert("crossed")</script>'
TOML = f"""
[paper]
title = '''A title with {WICKED} & "quotes"'''
arxiv = "0000.00000"
summary = '''Summary {WICKED}'''
field = "losses"

[experiment.arms]
tier = "exact"
arms = ["method", "base"]
seeds = 5
params = {{ size = [1, 2, 4] }}

[[experiment.arms.claim]]
id = "better"
says = '''Better {WICKED}.'''
where = "nowhere"
provenance = "derived"
rule = {{ kind = "order", metric = "score", baseline = "base" }}

[[experiment.arms.claim]]
id = "grows"
says = "The score grows with the size."
where = "nowhere"
provenance = "derived"
rule = {{ kind = "trend", metric = "score", fit = "slope", over = "size", at_least = 0 }}

[[reported]]
id = "n1"
setting = '''{WICKED}'''
metric = "score"
where = "nowhere"
provenance = "recalled"
state = "listed"
why = "a test"
method = 1.0
"""
CODE = "def arms(*, arm, seed, device, size):\n    return {'score': 1.0}\n"
METHOD = '"""A method."""\n\n\ndef public(x):\n    """What it does."""\n'


def made_up(trial: Any) -> dict[str, Any]:
    """Metrics of a toy trial; what they say is only there to be drawn."""
    score = trial.seed + trial.params["size"] + 5.0 * (trial.arm == "method")
    return {"score": score, "loss": [1 / (step + 1) for step in range(9)]}


def made_up_rows(paper: Paper, project: Project) -> list[Row]:
    return [
        Row(
            paper.slug, trial.experiment.name, trial.arm, trial.seed, trial.params, trial.experiment.tier,
            trial.subject, trial.setting, trial.fingerprint, trial.device, "done", made_up(trial),
            started="2026-01-01T00:00:00", seconds=1.0,
        )
        for trial in plan(paper, project, Selection())
    ]  # fmt: skip


@pytest.fixture
def toy_site(sandbox: Sandbox) -> tuple[Site, Path]:
    sandbox.suite(TOML, CODE, METHOD)
    paper, project = find_paper(sandbox.root, "toy"), Project(sandbox.root)
    return gather([paper], project, made_up_rows(paper, project), {}), sandbox.root


class Reader(HTMLParser):
    """Collects tags, ids and links."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id" and value:
                self.ids.append(value)
            if name in ("href", "src") and value:
                self.links.append(value)


def read(file: Path) -> Reader:
    reader = Reader()
    reader.feed(file.read_text(encoding="utf-8"))
    return reader


def test_text_from_files_is_harmless_and_links_lead_somewhere(toy_site: tuple[Site, Path], tmp_path: Path) -> None:
    site, root = toy_site
    out = tmp_path / "site"
    build(site, root, out, tmp_path / "figures", 1)
    for file in out.rglob("*.html"):
        reader = read(file)
        assert reader.tags.count("script") == (file.name == "index.html"), file
        assert len(reader.ids) == len(set(reader.ids)), file
        for link in reader.links:
            if link.startswith("https://arxiv.org/abs/"):
                continue  # where to read on: a link to follow, nothing is fetched
            assert not link.startswith(("http", "//")), link
            path, _, fragment = link.partition("#")
            target = (file.parent / path) if path else file
            assert target.is_file(), (file, link)
            if fragment:
                assert fragment in read(target).ids, (file, link)
    page = (out / "papers" / "toy.html").read_text(encoding="utf-8")
    assert page.count("<svg") == len(re.findall(r'<svg role="img" aria-label="[^"]+', page)) == 3
    assert "crossed" in page
    assert WICKED not in page


def test_same_rows_same_bytes(toy_site: tuple[Site, Path], tmp_path: Path) -> None:
    site, root = toy_site
    written = []
    for name, jobs in (("first", 1), ("second", 2)):
        out = tmp_path / name
        build(site, root, out, tmp_path / f"figures-{name}", jobs)
        written.append({file.relative_to(out): file.read_bytes() for file in out.rglob("*") if file.is_file()})
    assert written[0] == written[1]


def test_kept_figures_are_those_that_would_be_drawn(toy_site: tuple[Site, Path], tmp_path: Path) -> None:
    site, root = toy_site
    for name in ("drawn", "kept"):
        build(site, root, tmp_path / name, tmp_path / "figures", 1)
    assert len(list((tmp_path / "figures").iterdir())) == 1
    for file in (tmp_path / "drawn").rglob("*.html"):
        assert file.read_bytes() == (tmp_path / "kept" / file.relative_to(tmp_path / "drawn")).read_bytes()


def test_figures_show_what_claims_compare(toy_site: tuple[Site, Path]) -> None:
    page = toy_site[0].pages[0]
    drawn = figures_of(page.paper, page.judgements, page.rows)
    assert [one.name for one in drawn.intervals] == ["better", "grows"]
    assert len(drawn.dots) == 3  # a panel for each point of the grid
    assert {panel.metric for panel in drawn.curves} == {"score", "loss"}
    grown = next(panel for panel in drawn.curves if panel.metric == "score")
    assert grown.arms["method"] == ((1.0, 2.0, 4.0), (8.0, 9.0, 11.0))


def test_a_power_law_is_drawn_through_its_points() -> None:
    sizes = (1.0, 10.0, 100.0)
    exponent, fitted = power_law(sizes, [3 * size**-0.5 for size in sizes])
    assert exponent == pytest.approx(-0.5) and fitted == pytest.approx([3, 3 / 10**0.5, 0.3])
    panel = Panel("errors", "N", "error", {"method": (sizes, (3.0, 1.0, 0.3))}, lines=True, logarithmic=True)
    (figure,) = drawn_anew(Plan("toy", curves=(panel,)))
    assert ("errors", "error", "method, fitted exponent", "", "-0.5") in figure.table


def test_every_loss_stands_on_one_axis_of_cost(toy_site: tuple[Site, Path], tmp_path: Path) -> None:
    losses = {
        "plain": {"seconds": [0.9, 1.0, 1.2], "peak_mib": 4},
        "slow": {"seconds": [3.0, 3.5, 4.0], "peak_mib": 10},
        "lean": {"seconds": [0.4, 0.5, 0.6], "peak_mib": 2},
    }
    record = {"device": "cpu-x86_64", "torch": "9.9", "losses": losses}
    assert [(one.name, one.time[1], one.memory) for one in costs_of(record)] == [
        ("lean", 0.5, 0.5), ("plain", 1.0, 1.0), ("slow", 3.5, 2.5)
    ]  # fmt: skip
    site, root = toy_site
    (root / "results" / "reference").mkdir(parents=True, exist_ok=True)
    (root / "results" / "reference" / "costs.cpu-x86_64.json").write_text(json.dumps(record))
    build(site, root, tmp_path / "site", tmp_path / "figures", 1)
    page = (tmp_path / "site" / "methods.html").read_text(encoding="utf-8")
    assert "multiples of plain" in page and "<td>3.50</td>" in page


def the_site() -> Site:
    papers = [find_paper(ROOT, slug) for slug in suite_folders(ROOT)]
    rows, audits = list(committed_rows(ROOT)), committed_audits(ROOT)
    return gather(papers, Project(ROOT), rows, audits)


def test_status_tables_are_fresh() -> None:
    site = the_site()
    stale = "stale: run `crossexam report --status` and commit what it writes"
    assert (ROOT / "results" / "README.md").read_text(encoding="utf-8") == results_readme(site), stale
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme == with_status(readme, site), stale
    with pytest.raises(ValueError, match=r"README\.md has no"):
        with_status("no marks", site)


def test_fifty_six_papers(tmp_path: Path) -> None:
    """The papers that are there, under other names until they are 56."""
    pages = the_site().pages
    copies = [pages[number % len(pages)] for number in range(56)]
    grown = Site(
        tuple(replace(one, paper=replace(one.paper, slug=f"copy-{number}")) for number, one in enumerate(copies))
    )
    seconds = []
    for _ in range(2):
        started = time.monotonic()
        size = build(grown, ROOT, tmp_path / "site", tmp_path / "figures", 2)
        seconds.append(time.monotonic() - started)
    print(f"56 papers: {seconds[0]:.1f} s, then {seconds[1]:.1f} s; {size / 1e6:.1f} MB")
    assert seconds[1] < 10  # from one night to the next, most figures are kept
    assert size < 40e6


@pytest.fixture
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("no Chromium: install Debian's package chromium to test the pages in a browser")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.mark.timeout(1200)  # two visits to each page, and axe reads all of it
def test_in_a_browser(tmp_path: Path, browser: Any) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    site, out = the_site(), tmp_path / "site"
    build(site, ROOT, out, tmp_path / "figures", 2)
    errors: list[str] = []
    for width, scheme in ((1200, "light"), (360, "dark")):
        page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        for file in ("index.html", "methods.html", *(f"papers/{one.slug}.html" for one in site.pages)):
            page.goto((out / file).as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (file, width)
            assert not errors, (file, errors)
            found = axe.run(page).response["violations"]
            serious = {one["id"]: one["nodes"][0]["html"] for one in found if one["impact"] in ("serious", "critical")}
            assert not serious, (file, scheme, serious)
            errors.clear()  # axe reads style sheets again, which a browser refuses for files
    page = browser.new_page()
    page.goto((out / "index.html").as_uri())
    shown = page.locator("#ledger tbody tr:visible")
    assert shown.count() == len(site.pages)
    page.fill("#search", "credit risk")
    assert shown.count() == 1
    assert page.inner_text("#shown") == "1 paper"
    page.fill("#search", "")
    page.select_option("#field", "theory")
    assert {row.get_attribute("data-field") for row in shown.all()} == {"theory"}
    page.select_option("#field", "")
    page.select_option("#verdict", "not reproduced")
    assert shown.count() == sum("not reproduced" in one.count() for one in site.pages)
    page.select_option("#verdict", "")
    page.click("button[data-sort=findings]")
    order = [int(row.get_attribute("data-findings")) for row in shown.all()]
    assert order == sorted(order)
    page.keyboard.press("Enter")  # the button has the focus: the keyboard does what the mouse does
    assert [int(row.get_attribute("data-findings")) for row in shown.all()] == sorted(order, reverse=True)


def test_a_fold_out_comes_within_three_screens(tmp_path: Path, browser: Any) -> None:
    site, out = the_site(), tmp_path / "site"
    build(site, ROOT, out, tmp_path / "figures", 2)
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    for one in site.pages:
        page.goto((out / "papers" / f"{one.slug}.html").as_uri())
        above = page.evaluate("document.querySelector('details').getBoundingClientRect().top + scrollY")
        assert above < 3 * 800, (one.slug, above)
