"""The command line: what newcomers and scripts see, and bad input, each with what to do next."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import CODE, ROOT, TOML, Sandbox


def test_run_judge_show_list(toy: Sandbox) -> None:
    run = toy.run("run", "toy")
    assert run.returncode == 0, run.stderr
    assert "two-and-two" in run.stdout
    assert "1 reproduced; all verdicts as expected." in run.stdout
    assert toy.json("judge", "toy")["claims"][0]["verdict"] == "reproduced"
    assert "A toy" in toy.run("list").stdout
    assert toy.json("show", "toy")["claims"][0]["claim"] == "two-and-two"


def test_verdict_that_differs_is_exit_code_1(toy: Sandbox) -> None:
    toy.suite(method="def add(a, b):\n    return a - b\n")
    run = toy.run("run", "toy")
    assert run.returncode == 1
    assert "expected 'reproduced', judged 'not reproduced'" in run.stdout
    toy.suite(
        TOML + 'expected = "not reproduced"\nfinding = "It is zero."\n', method="def add(a, b):\n    return a - b\n"
    )
    again = toy.run("run", "toy")
    assert again.returncode == 0
    assert "a finding: It is zero." in again.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("run", "tou"), "did you mean 'toy'?"),
        (("run", "toy", "--tier", "exakt"), "did you mean 'exact'?"),
        (("run", "toy", "--seeds", "0"), "--seeds 0: at least 1"),
        (("run", "toy", "--jobs", "0"), "--jobs 0: at least 1"),
        (("run", "toy", "-k", "absent"), "no experiment or claim holds 'absent'"),
        (("run", "toy", "--sneeds", "3"), "No such option"),
        (("why", "toy/absent"), "no trial begins with"),
        (("import", "absent.jsonl"), "cannot read absent.jsonl"),
        (("new", "Bad Name"), "is no slug"),
        (("new", "toy"), "exists already"),
        (("data", "show", "digit"), "did you mean 'digits'?"),
        (("data", "fetch", "taiwan-default"), "download data set 350"),
        (("data", "fetch"), "with --for a paper that needs them"),
        (("nonsense",), "No such command"),
        (("run", "toy", "--seeds", "many"), "not a valid integer"),
    ],
)
def test_bad_usage_is_exit_code_2_and_says_what_to_do(toy: Sandbox, words: tuple[str, ...], message: str) -> None:
    run = toy.run(*words)
    assert run.returncode == 2
    assert message in run.stderr
    assert "Traceback" not in run.stderr


def test_all_that_a_paper_needs_is_fetched_and_what_cannot_be_is_said(toy: Sandbox) -> None:
    protocol = 'protocol = { data = "d", model = "m", tuning = "t", evaluation = "e", deviations = "none" }'
    needs = 'needs = { data = ["digits", "taiwan-default"] }'
    toy.suite(TOML.replace('tier = "exact"', f'tier = "small"\n{protocol}\n{needs}'))
    fetched = toy.run("data", "fetch", "--for", "toy", CROSSEXAM_DATA="", XDG_CACHE_HOME=str(toy.root / "cache"))
    assert fetched.returncode == 2
    assert "digits: bundled with scikit-learn" in fetched.stdout and "download data set 350" in fetched.stderr


def test_broken_suite_is_exit_code_2_and_does_not_hide_others(toy: Sandbox) -> None:
    toy.suite("[paper\n", name="broken")
    listed = toy.run("list")
    assert listed.returncode == 2
    assert "A toy" in listed.stdout
    assert "not valid TOML" in listed.stderr
    assert toy.run("run", "toy").returncode == 0
    assert toy.run("run", "broken").returncode == 2


def test_suite_that_does_not_import_is_a_failed_trial(toy: Sandbox) -> None:
    toy.suite(code="import absent_module\n" + CODE)
    run = toy.run("run", "toy")
    assert run.returncode == 3
    assert "No module named 'absent_module'" in run.stdout


def test_metric_that_is_never_returned_is_exit_code_3(toy: Sandbox) -> None:
    toy.suite(code=CODE.replace('"total"', '"sum"'))
    run = toy.run("run", "toy")
    assert run.returncode == 3
    assert "returned no metric 'total' (it returned: sum)" in run.stdout


def small(data: str) -> str:
    protocol = 'data = "d", model = "m", tuning = "t", evaluation = "e", deviations = "none"'
    return TOML.replace('tier = "exact"', f'tier = "small"\nneeds = {{ {data} }}\nprotocol = {{ {protocol} }}')


def test_a_program_that_is_not_there_blocks_and_says_so(toy: Sandbox) -> None:
    toy.suite(small('programs = ["no-such-engine"]'))
    planned = toy.run("plan", "toy")
    assert planned.returncode == 0
    assert "needs the program 'no-such-engine' on the PATH" in planned.stdout
    toy.suite(small('programs = ["git"]'))
    assert "needs the program" not in toy.run("plan", "toy").stdout


def test_absent_data_blocks_with_the_remedy(toy: Sandbox) -> None:
    toy.suite(small('data = ["taiwan-default"]'))
    run = toy.run("run", "toy", CROSSEXAM_DATA="")
    assert run.returncode == 0
    assert "blocked: two-and-two" in run.stdout
    assert "download data set 350" in run.stdout


@pytest.mark.parametrize("damage", ["truncated", "corrupted"])
def test_damaged_data_is_an_error_with_what_was_expected_and_found(toy: Sandbox, damage: str) -> None:
    folder = toy.root / "data" / "german-credit"
    folder.mkdir(parents=True)
    line = b"A11 6 A34 A43 1169 A65 A75 4 A93 A101 4 A121 67 A143 A152 2 A173 1 A192 A201 1\n"
    content = (line * 2000)[: 79000 if damage == "corrupted" else 500]
    (folder / "german.data").write_bytes(content)
    code = "import reference\n\n\ndef sums(*, arm, seed, device):\n    return {'total': len(reference.load('german-credit'))}\n"
    toy.suite(small('data = ["german-credit"]'), code)
    run = toy.run("run", "toy", CROSSEXAM_DATA=str(toy.root / "data"))
    assert run.returncode == 3
    expected = "bytes of content, found"
    assert expected in run.stdout


def test_gpu_trials_are_blocked_with_the_command_to_run_elsewhere(toy: Sandbox) -> None:
    toy.suite(small("gpu_memory_gib = 8").replace('tier = "small"', 'tier = "full"'))
    run = toy.run("run", "toy", PATH="")  # without nvidia-smi there is no GPU
    assert run.returncode == 0
    assert "python -m crossexam run toy --tier full -o rows.jsonl" in run.stdout
    assert "crossexam import rows.jsonl" in run.stdout


def test_fresh_seeds(toy: Sandbox) -> None:
    assert toy.json("run", "toy", "--first-seed", "1000", "--seeds", "2")["trials"] == {"done": 2}
    assert [claim["seeds"] for claim in toy.json("judge", "toy", "--first-seed", "1000", "--seeds", "2")["claims"]] == [
        [1000, 1001]
    ]
    assert toy.json("judge", "toy")["claims"][0]["health"] == "not run"
    refused = toy.run("run", "toy", "--first-seed", "-1")
    assert refused.returncode == 2 and "seeds count from 0" in refused.stderr


def test_rows_travel_to_another_machine(toy: Sandbox) -> None:
    assert toy.run("run", "toy", "-o", "rows.jsonl", CROSSEXAM_RESULTS="elsewhere").returncode == 0
    assert "1 new rows" in toy.run("import", "rows.jsonl").stdout
    assert '"total":4.0' in toy.run("export", "toy", "--current").stdout
    assert toy.run("run", "toy", "--fresh").returncode == 0  # a repetition: both rows are kept, one is current
    counts = [
        toy.run(*words).stdout.count('"kind":"row"') for words in (("export", "toy"), ("export", "toy", "--current"))
    ]
    assert counts == [2, 1]
    assert toy.json("judge", "toy")["claims"][0]["verdict"] == "reproduced"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_results_folder(toy: Sandbox) -> None:
    folder = toy.root / "results"
    folder.mkdir()
    folder.chmod(0o500)
    run = toy.run("run", "toy")
    assert run.returncode == 2
    assert "set CROSSEXAM_RESULTS" in run.stderr


def test_results_folder_that_is_a_file(toy: Sandbox) -> None:
    (toy.root / "results").write_text("in the way")
    run = toy.run("run", "toy")
    assert run.returncode == 2
    assert "set CROSSEXAM_RESULTS" in run.stderr


def test_locked_database_is_a_clear_error(toy: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    import sqlite3

    from crossexam.runs import store

    store.Store(toy.root / "results").close()
    blocker = sqlite3.connect(toy.root / "results" / "crossexam.sqlite", isolation_level=None)
    blocker.execute("BEGIN EXCLUSIVE")
    real = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda file, timeout=0.0, **more: real(file, timeout=0.1, **more))
    opened = store.Store(toy.root / "results")
    with pytest.raises(store.StoreError, match="locked"):
        opened.add_verdicts("toy", [("c", "s", "reproduced", {})])
    opened.close()
    blocker.close()


def test_pipe_and_no_color_have_no_escapes(toy: Sandbox) -> None:
    run = toy.run("run", "toy")
    assert "\x1b" not in run.stdout + run.stderr
    assert run.stderr.startswith("1 trial to run, up to 5 min")


def test_torch_is_never_imported_by_what_should_be_fast(toy: Sandbox) -> None:
    assert toy.run("run", "toy").returncode == 0
    for words in (("list",), ("show", "toy"), ("plan", "toy"), ("judge", "toy"), ("run", "toy"), ("why", "toy")):
        code = (
            "import sys; sys.argv[1:] = sys.argv[1:]\nfrom crossexam.showing.cli import run_app\nstatus = run_app()\n"
            "assert 'torch' not in sys.modules, 'torch was imported'\nsys.exit(status)"
        )
        run = subprocess.run(
            [sys.executable, "-c", code, *words],
            cwd=toy.root,
            env=toy.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, (words, run.stderr)


def test_new_suite_runs_and_its_test_passes(sandbox: Sandbox) -> None:
    (sandbox.root / "suites" / "__init__.py").touch()
    assert sandbox.run("new", "my-paper").returncode == 0
    assert sandbox.run("run", "my-paper").returncode == 0
    assert "2 passed" in suite_tests(sandbox)


def test_each_piece_of_a_new_suite_can_be_replaced_alone(sandbox: Sandbox) -> None:
    """Method, README, claims: whatever comes first, the toy and the tests stay green; then the toy goes."""
    (sandbox.root / "suites" / "__init__.py").touch()
    assert sandbox.run("new", "my-paper").returncode == 0
    folder = sandbox.root / "suites" / "my_paper"
    (folder / "method.py").write_text('"""total = a + b"""\n\n\ndef add(a, b):\n    return a + b\n')
    assert sandbox.run("run", "my-paper").returncode == 0 and "2 passed" in suite_tests(sandbox)
    snippet = "".join((folder / "README.md").read_text().split("```python\n")[1].split("```")[:1])
    assert subprocess.run([sys.executable, "-c", snippet], cwd=sandbox.root, check=False).returncode == 0
    toml = (folder / "paper.toml").read_text()
    own = TOML.split("[experiment.sums]")[1]
    (folder / "paper.toml").write_text(f"{toml}\n[experiment.sums]{own}")
    experiments = (folder / "experiments.py").read_text()
    (folder / "experiments.py").write_text(experiments + CODE.replace("suites.toy", "suites.my_paper"))
    assert sandbox.json("judge", "my-paper")["claims"][0]["verdict"] == "reproduced"
    assert sandbox.run("run", "my-paper").returncode == 0 and "2 passed" in suite_tests(sandbox)
    (folder / "toy.py").unlink()
    (folder / "paper.toml").write_text(TOML)
    (folder / "experiments.py").write_text(CODE.replace("suites.toy", "suites.my_paper"))
    assert sandbox.run("run", "my-paper").returncode == 0


def suite_tests(sandbox: Sandbox) -> str:
    test = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--rootdir", ".", "tests"], cwd=sandbox.root,
        env=sandbox.environment(PYTHONPATH=f"{sandbox.root}{os.pathsep}{ROOT}"), capture_output=True, text=True, check=False,
    )  # fmt: skip
    return test.stdout + test.stderr


def test_json_of_a_run_is_parseable_and_complete(toy: Sandbox) -> None:
    outcome = json.loads(toy.run("run", "toy", "--json").stdout)
    claim = outcome["claims"][0]
    assert {"rule", "verdict", "expected", "findings", "series", "device", "seeds"} <= claim.keys()
    assert toy.run("run", "toy", "--dry-run").returncode == 0
