"""The command line. Commands parse, call `session`, and hand what comes back to `show`."""

from __future__ import annotations

import sys
import traceback

import click

from crossexam.facts.problems import BadFile
from crossexam.facts.project import UnknownPaper
from crossexam.runs.host import NoHost
from crossexam.runs.store import StoreError
from crossexam.showing.app import AS_EXPECTED, BAD_USAGE, HARNESS, INTERRUPTED, BadUsage, app
from reference.catalog import DataError


def run_app() -> int:
    """Run the command line; errors that a person can mend become one message and exit code 2."""
    try:
        result = app.main(prog_name="crossexam", standalone_mode=False)
        return result if isinstance(result, int) else AS_EXPECTED
    except (click.Abort, KeyboardInterrupt):
        print("interrupted: finished trials are kept; the same command goes on", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        return AS_EXPECTED
    except click.ClickException as error:
        error.show()
        return BAD_USAGE
    except (BadFile, UnknownPaper, BadUsage, NoHost, StoreError, DataError) as error:
        print(f"crossexam: {error}", file=sys.stderr)
        return BAD_USAGE
    except Exception as error:
        traceback.print_exc()
        print(f"crossexam: a fault of the harness, not of the paper: {type(error).__name__}: {error}", file=sys.stderr)
        return HARNESS
