"""The wheel, without the checkout: it finds its configurations and spaces, and the demo's first step runs."""

import json
import os
import signal
import site
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
pytest.importorskip("build")
pytest.importorskip("hatchling")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """An environment that holds the wheel and sees the outer site-packages; returns its folder of programs."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    environment = folder / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    program = environment / "bin" / "python"
    inner = subprocess.run(
        [program, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    # a plain path line: the outer packages are seen, the outer environment's editable install is not
    outer = [path for path in (*site.getsitepackages(), site.getusersitepackages()) if Path(path).is_dir()]
    Path(inner, "outer.pth").write_text("\n".join(outer))
    install = [sys.executable, "-m", "pip", "--python", str(program), "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    return wheel, environment / "bin"


def outside(**extra):
    """An environment that does not see the checkout."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")} | extra


def test_the_wheel_carries_what_it_reads(installed):
    names = zipfile.ZipFile(installed[0]).namelist()
    for wanted in (
        "autobuild/_bundled/conf/autobuild.yaml",
        "autobuild/cost/presets/edge_npu.yaml",
        "autobuild/_bundled/search_spaces/ofa_mbv3.py",
        "autobuild/_bundled/search_spaces/tiny_mbconv.py",
        *(str(file.relative_to(ROOT)) for file in (ROOT / "autobuild" / "labels" / "embedded").iterdir()),
        "autobuild/py.typed",
    ):
        assert wanted in names
    for folder in ("conf", "search_spaces"):
        files = [file for file in (ROOT / folder).rglob("*") if file.suffix in (".yaml", ".py")]
        assert {f"autobuild/_bundled/{file.relative_to(ROOT)}" for file in files} <= set(names)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    # on the public index, `autobuild` is another project
    assert {name.split("/")[0] for name in names} == {"autobuild", "autobuild_nas-0.1.0.dist-info"}
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/")) or "__pycache__" in name]


def test_it_is_the_wheel_that_runs(installed, tmp_path):
    code = "import autobuild; from autobuild.resources import resource_dir; print(resource_dir('conf'))"
    done = subprocess.run(
        [installed[1] / "python", "-c", code], cwd=tmp_path, env=outside(), check=True, capture_output=True, text=True
    )
    assert "_bundled" in done.stdout
    assert str(installed[1].parent) in done.stdout
    listed = subprocess.run(
        [installed[1] / "autobuild", "spaces"], cwd=tmp_path, env=outside(), check=True, capture_output=True, text=True
    )
    for name in ("ofa_mbv3", "ofa_proxyless", "tiny_mbconv"):
        assert name in listed.stdout


def test_an_extra_of_what_is_installed_is_asked_of_no_index(installed):
    """What the error messages tell people to type: pip takes the installed project, and only looks for the extra."""
    line = [sys.executable, "-m", "pip", "--python", str(installed[1] / "python"), "install", "--no-deps", "--no-index"]
    done = subprocess.run([*line, "autobuild-nas[ray]"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "already satisfied: autobuild-nas[ray]" in done.stdout


@pytest.mark.slow
def test_the_first_step_of_the_demo(installed, tmp_path):
    """The demo fits on the embedded labels; then Ctrl-C, which leaves the finished step usable."""
    command = [installed[1] / "autobuild", "demo", "fit.epochs=2", "plots=false", "threads=1", "out=run"]
    demo = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=outside(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        # a shell that starts the tests in the background has SIGINT ignored, and children inherit that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    state, deadline = {}, time.monotonic() + 240
    while "fit" not in state.get("steps", {}):
        assert demo.poll() is None, demo.communicate()[0].decode()
        assert time.monotonic() < deadline
        time.sleep(0.2)
        file = tmp_path / "run" / "run.json"
        state = json.loads(file.read_text()) if file.is_file() else {}
    demo.send_signal(signal.SIGINT)
    assert demo.wait(timeout=60) == 130
    assert (tmp_path / "run" / "model" / "weights.safetensors").stat().st_size > 0
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["test_srcc"] is not None
