"""The report: a static site made from rows alone, that opens from a file."""

from crossexam.showing.report.site import Site, build, gather

__all__ = ["Site", "build", "gather"]
