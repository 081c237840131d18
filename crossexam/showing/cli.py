"""The command line. Commands parse, call `session`, and hand what comes back to `show`."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from contextlib import suppress

import click

from crossexam.facts.problems import BadFile
from crossexam.facts.project import UnknownPaper
from crossexam.runs.git import NoGit
from crossexam.runs.host import NoHost
from crossexam.runs.store import StoreError
from crossexam.showing.app import AS_EXPECTED, BAD_USAGE, HARNESS, INTERRUPTED, BadUsage, ReaderLeft, app
from reference.catalog import DataError


def run_app() -> int:
    """Run the command line; errors that a person can mend become one message and exit code 2."""
    _prepare()
    stdout = sys.stdout
    try:
        result = app.main(prog_name="crossexam", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else AS_EXPECTED
    except (click.Abort, KeyboardInterrupt):
        print("interrupted: finished trials are kept; the same command goes on", file=sys.stderr)
        return INTERRUPTED
    except (BrokenPipeError, ReaderLeft, SystemExit) as error:
        if isinstance(error, SystemExit) and sys.stdout is stdout:  # of a broken pipe, click exits with another stream
            raise
        # The reader had enough, as `head` has. Nothing more may be flushed into the pipe, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stdout.fileno())
        return error.status if isinstance(error, ReaderLeft) else AS_EXPECTED
    except click.ClickException as error:
        error.show()
        return BAD_USAGE
    except (BadFile, UnknownPaper, BadUsage, NoGit, NoHost, StoreError, DataError) as error:
        print(f"crossexam: {error}", file=sys.stderr)
        return BAD_USAGE
    except Exception as error:
        traceback.print_exc()
        print(f"crossexam: a fault of the harness, not of the paper: {type(error).__name__}: {error}", file=sys.stderr)
        return HARNESS


def _prepare() -> None:
    """No character ends in a traceback, whatever the locale; what ends a terminal or a job ends a run as Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):  # a stream that a caller has put in its place
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup has it ignored
            signal.signal(number, _interrupt)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
