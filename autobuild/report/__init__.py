"""One HTML page from what a run has found."""

from autobuild.report.page import Section, html_page

__all__ = ["Section", "html_page"]
