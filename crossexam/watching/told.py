"""A night in words: Markdown for people, JUnit for build servers, annotations and an issue for GitHub."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from xml.etree import ElementTree

from crossexam.judging.words import in_units
from crossexam.watching.nightly import Change, Flip, Night, Surprise
from crossexam.watching.reasons import Reason, grouped
from crossexam.watching.watch import SCREEN

LABEL = "crossexam-night"
"""Of the one issue that a project has about its nights; in a workflow its job's name is added, for each has its own."""
MOST_CAUSES = 6
"""That are listed; how many more there are is said."""
UNJUDGED = ("blocked", "not run", "incomplete", "outdated", "error", "timeout")


def headline(night: Night) -> str:
    """Alarm, amber or quiet, in a few words."""
    if night.alarm:
        return "Alarm."
    seen = night.coverage
    if night.amber:
        if not seen.judgeable:
            return "Amber: this machine can judge no claim."
        return f"Amber: nothing moved in what was watched, but that is less than {seen.floor:.0%} of what could be."
    return "All quiet."


def watched(night: Night) -> str:
    """What was watched, in two sentences."""
    seen = night.coverage
    share = (
        f", {seen.watched / seen.judgeable:.0%} of the {seen.judgeable} that this machine can judge"
        if seen.judgeable
        else ""
    )
    causes = ", ".join(f"{count} for want of {what}" for what, count in seen.lacking.items())
    blocked = f"{seen.blocked} blocked ({causes})" if causes else "none blocked"
    return (
        f"Watched {seen.watched} of {seen.claims} claims{share}. "
        f"{night.ran} trials run, {night.repeated} repeated, {blocked}, {night.left} left for want of time; "
        f"{night.series} series; {night.seconds:.0f} s; commit {night.commit[:12] or 'unknown'}."
    )


def markdown(night: Night) -> str:
    """The night for a person."""
    lines = [f"# CrossExam, {night.at[:10]}", "", f"**{headline(night)}** {watched(night)}"]
    sure = [one for one in night.changes if one.confirmed]
    entries: list[Flip | Change] = [*night.flips, *sure]
    if entries:
        lines += ["", "## What moved"]
    for reason, numbers in grouped((one.reason, number) for number, one in enumerate(entries)):
        lines += ["", f"### {_cause(reason)}", "", *_since(reason)]
        for number in numbers:
            one = entries[number]
            lines += _flip(one) if isinstance(one, Flip) else [f"- {sentence(one)}"]
    doubted = [one for one in night.changes if not one.confirmed]
    known = {(one.paper, one.claim) for one in night.flips}
    sections: list[tuple[str, list[str]]] = [
        ("Verdicts that are not as expected", [
            surprise(one) + (" (it moved tonight)" if (one.paper, one.claim) in known else "")
            for one in night.unexpected
        ]),
        ("Trials that did not repeat bit for bit", list(night.unequal)),
        ("Trials that failed", list(night.failed)),
        ("Deviations that there was no time to confirm", [_doubt(one) for one in doubted if one.fresh_z is None]),
        ("Deviations that fresh seeds did not confirm", [_doubt(one) for one in doubted if one.fresh_z is not None]),
    ]  # fmt: skip
    for title, told in sections:
        if told:
            lines += ["", f"## {title}", "", *(f"- {entry}" for entry in told)]
    return "\n".join(lines) + "\n"


def _cause(reason: Reason) -> str:
    first, *rest = reason.causes
    more = f", and {len(rest)} more" if rest else ""
    return f"Since its last row has changed: {first}{more}"


def _causes(causes: Sequence[str]) -> str:
    """The first causes, and how many there are beside them: night.json has them all."""
    more = f", and {len(causes) - MOST_CAUSES} more" if len(causes) > MOST_CAUSES else ""
    return ", ".join(causes[:MOST_CAUSES]) + more


def _since(reason: Reason) -> list[str]:
    """What has changed beside the first cause, and the commits that touch it."""
    lines = [f"Also: {_causes(reason.causes[1:])}.", ""] if len(reason.causes) > 1 else []
    if reason.commits:
        lines += [f"Since {reason.since}, commits that touch it:", "", *(f"    {one}" for one in reason.commits), ""]
    return lines


def _flip(one: Flip) -> list[str]:
    """A claim that has another verdict than before: both, with value, interval and rule."""
    unexpected = "" if one.expected else " (not as expected)"
    rules = f"rule {one.found.rule}" + (f", before {one.was.rule}" if one.was.rule not in ("", one.found.rule) else "")
    lines = [
        f"- **{one.paper}/{one.claim}: {one.before} -> {one.now}**{unexpected}: measured {one.found.measured}, "
        f"before {one.was.measured or 'unknown'}{f' on {one.was.day}' if one.was.day else ''}; {rules}."
    ]
    return [*lines, f"  `{one.bisect}`"] if one.bisect else lines


def sentence(change: Change) -> str:
    """A series that has moved: both means with their intervals, and the rule by which that is much."""
    again = "no time to confirm" if change.fresh_z is None else f"fresh seeds z = {change.fresh_z:+.1f}"
    ends = [end for interval in (change.interval_before, change.interval_now) for end in interval or ()]
    what, before, now, *told = in_units(change.what, change.before, change.now, *ends)

    def within(interval: tuple[float, float] | None) -> str:
        return f" [{told.pop(0)}, {told.pop(0)}]" if interval else ""

    before, now = before + within(change.interval_before), now + within(change.interval_now)
    return f"{what}: {before} -> {now} (z = {change.z:+.1f}, {again}; rule |z| > {SCREEN:g}, then fresh seeds)"


def _doubt(one: Change) -> str:
    return f"{sentence(one)}. Changed since: {_causes(one.reason.causes)}"


def surprise(one: Surprise) -> str:
    """A verdict that its file does not expect."""
    return (
        f"{one.paper}/{one.claim}: expected {one.expected}, judged {one.found.verdict}: measured {one.found.measured}, "
        f"rule {one.found.rule}"
    )


def _story(one: Flip | Change) -> str:
    """An entry with its cause, in one paragraph."""
    told = " ".join(_flip(one)).removeprefix("- ").replace("**", "") if isinstance(one, Flip) else sentence(one)
    commits = f" Commits: {'; '.join(one.reason.commits)}." if one.reason.commits else ""
    return f"{told} Changed since: {_causes(one.reason.causes)}.{commits}"


def junit(night: Night) -> str:
    """The night for a build server: one case per claim, one per alarm of another kind, and the coverage."""
    suite = ElementTree.Element("testsuite", name="crossexam nightly", timestamp=night.at, time=str(night.seconds))
    surprises = {(one.paper, one.claim): surprise(one) for one in night.unexpected}
    stories = {(one.paper, one.claim): _story(one) for one in night.flips}
    failures = 0
    for slug, claim, outcome in night.judged:
        case = ElementTree.SubElement(suite, "testcase", classname=slug, name=claim)
        story = stories.get((slug, claim), "")
        if text := surprises.get((slug, claim)):
            ElementTree.SubElement(case, "failure", message=text).text = story
            failures += 1
        elif outcome in UNJUDGED:
            ElementTree.SubElement(case, "skipped", message=outcome)
        if story:
            ElementTree.SubElement(case, "system-out").text = story
    others: list[tuple[str, str, str, str]] = [
        *(("change", one.what, sentence(one), _story(one)) for one in night.changes if one.confirmed),
        *(("repetition", name, "metrics differ from an earlier run of the same fingerprint", "")
          for name in night.unequal),
        *(("trial", text.split(": ")[0], text, "") for text in night.failed),
        *([("coverage", "watched", headline(night), watched(night))] if night.amber and not night.alarm else []),
    ]  # fmt: skip
    for kind, name, message, story in others:
        case = ElementTree.SubElement(suite, "testcase", classname=kind, name=name)
        ElementTree.SubElement(case, "failure", message=message).text = story
    suite.set("tests", str(len(night.judged) + len(others)))
    suite.set("failures", str(failures + len(others)))
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def workflow_commands(night: Night) -> Iterable[str]:
    """Annotations: GitHub shows them beside the run, and beside the file that changed."""
    for one in night.flips:
        yield _annotation("warning" if one.expected else "error", f"{one.paper}/{one.claim}", _story(one), one.reason)
    for change in night.changes:
        if change.confirmed:
            yield _annotation("error", change.what, _story(change), change.reason)
    moved = {(one.paper, one.claim) for one in night.flips}
    for odd in night.unexpected:
        if (odd.paper, odd.claim) not in moved:
            yield _annotation("error", f"{odd.paper}/{odd.claim}", surprise(odd))
    for name in night.unequal:
        yield _annotation("error", name, "metrics differ from an earlier run of the same fingerprint")
    for text in night.failed:
        yield _annotation("error", text.split(": ")[0], text)
    if night.amber:
        yield _annotation("warning", "Too little was watched", watched(night))


def _annotation(level: str, title: str, message: str, reason: Reason | None = None) -> str:
    def escaped(text: str, more: str = "") -> str:
        for sign in f"%\r\n{more}":
            text = text.replace(sign, f"%{ord(sign):02X}")
        return text

    file = f"file={escaped(reason.file, ':,')}," if reason and reason.file else ""
    return f"::{level} {file}title={escaped(title, ':,')}::{escaped(message)}"


class NoIssue(Exception):
    """GitHub could not be told. The message says why."""


def issue(night: Night) -> str:
    """Keep one issue: open it at an alarm, rewrite it while that lasts, close it when all is quiet; what was done.

    A night that is amber leaves it as it is. Raises NoIssue where the client `gh` is absent or refuses.
    """
    label = "-".join(filter(None, (LABEL, os.environ.get("GITHUB_JOB"))))
    found = json.loads(_gh("issue", "list", "--label", label, "--state", "open", "--json", "number") or "[]")
    number = str(found[0]["number"]) if found else ""
    title = f"CrossExam: {len(night.flips)} verdicts moved, {len(night.unexpected)} are not as expected"
    if night.alarm and number:
        _gh("issue", "edit", number, "--title", title, "--body-file", "-", given=markdown(night))
        return f"issue {number} rewritten"
    if night.alarm:
        _gh("label", "create", label, "--force", "--description", "What the nightly watch found")
        made = _gh("issue", "create", "--title", title, "--label", label, "--body-file", "-", given=markdown(night))
        return f"issue opened: {made.strip()}"
    if number and not night.amber:
        _gh("issue", "close", number, "--comment", f"{headline(night)} {watched(night)}")
        return f"issue {number} closed"
    return "no issue"


def _gh(*words: str, given: str = "") -> str:
    program = shutil.which("gh")
    if program is None:
        raise NoIssue("--issue needs GitHub's client: install gh, and let it sign in")
    done = subprocess.run([program, *words], input=given, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise NoIssue(f"gh {' '.join(words[:2])} failed: {done.stderr.strip()[-300:]}")
    return done.stdout
