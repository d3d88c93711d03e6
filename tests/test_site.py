"""The documentation builds as a site without a warning, and loads nothing from elsewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import autobuild as ab
from autobuild import plot

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_the_site_builds_and_loads_nothing_from_elsewhere(tmp_path):
    for module in ("mkdocs", "material", "mkdocstrings"):
        pytest.importorskip(module, reason="the extra docs is not installed")
    line = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(tmp_path)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    reference = (tmp_path / "api" / "index.html").read_text(encoding="utf-8")
    for room in (ab, plot):
        for name in room.__all__:
            own = getattr(room, name)
            assert f'id="{own.__module__}.{own.__qualname__}"' in reference, name
    for page in tmp_path.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"<(?:script|img|iframe)[^>]*src=\"https?:", text), page
        assert not re.search(r"<link[^>]*rel=\"(?:stylesheet|preconnect)\"[^>]*href=\"https?:", text), page
    assert (tmp_path / "sample_report.html").exists()


def test_every_extra_is_described():
    """What the doctor lists is what can be installed."""
    import tomllib

    from autobuild.jobs.doctor import EXTRAS

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert set(EXTRAS) == set(extras) - {"test", "bench"}
    for extra, (packages, _) in EXTRAS.items():
        required = " ".join(extras[extra])
        assert all(name in required for name in packages), extra
    found = ab.show_config()
    assert list(found.frame) == ["what", "version", "gives"]
    assert {f"[{extra}]" for extra in EXTRAS} <= set(found.frame["what"])
    assert "cpu" in str(found)
    assert all("pip install" in row.gives for row in found.frame.itertuples() if row.version == "missing")
