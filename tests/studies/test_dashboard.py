"""optuna-dashboard opens the storage of a search as it is."""

from __future__ import annotations

import json
from wsgiref.util import setup_testing_defaults

import pytest

import autobuild as ab
from tests.studies.test_search import metrics

dashboard = pytest.importorskip("optuna_dashboard", reason="the extra `dashboard` is not installed")


def get(app, path):
    """One GET request to a WSGI application."""
    told = {}
    environ = {"PATH_INFO": path}
    setup_testing_defaults(environ)
    body = b"".join(app(environ, lambda status, headers, error=None: told.update(status=status)))
    assert told["status"].startswith("200"), (told, body)
    return json.loads(body)


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_its_interface_answers_on_the_storage(kind, tmp_path):
    path = tmp_path / "s"
    address = f"sqlite:///{path}" if kind == "sqlite" else f"journal:{path}"
    found = ab.search(ab.space("nas_bench_macro"), metrics, n_trials=4, storage=address, name="x", where="ms <= 5")
    app = dashboard.wsgi(address if kind == "sqlite" else str(path))
    (study,) = get(app, "/api/studies")["study_summaries"]
    assert study["study_name"] == "x"
    trials = get(app, f"/api/studies/{study['study_id']}")["trials"]
    assert [trial["state"] for trial in trials] == ["Complete"] * 4
    attrs = {attr["key"]: attr["value"] for attr in trials[0]["user_attrs"]}
    assert attrs["arch"].strip("'\"") == found.evaluated["arch"][0]
    assert "'acc'" in attrs["metrics"] or '"acc"' in attrs["metrics"]
