"""The rules between rooms: imports run downward only, also those inside functions."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from autobuild.resources import resource_dir

ROOT = Path(__file__).resolve().parents[1]


def test_rooms_import_downward_only():
    command = shutil.which("lint-imports", path=str(Path(sys.executable).parent)) or shutil.which("lint-imports")
    if command is None:
        pytest.skip("import-linter is not installed")
    done = subprocess.run([command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_space_declarations_know_only_spaces_and_torch():
    """At module level only autobuild.spaces; torch and optional libraries inside functions."""
    for file in sorted(resource_dir("search_spaces").glob("*.py")):
        tree = ast.parse(file.read_text())
        for node in tree.body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
                for name in names:
                    top = name.split(".")[0]
                    assert name.startswith("autobuild.spaces") or top in sys.stdlib_module_names, f"{file}: {name}"
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("autobuild"):
                assert node.module.startswith("autobuild.spaces"), f"{file}: {node.module}"


def test_nothing_is_unpickled_or_evaluated():
    """Nothing from disk is pickled or eval'ed, and weights are read with weights_only."""
    for file in sorted((ROOT / "autobuild").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            if called == "pickle.loads" and file.name == "packing.py":
                continue  # what this process has packed itself, read by the children that it starts
            assert called not in ("eval", "exec", "pickle.load", "pickle.loads", "os.system"), f"{file}: {called}"
            if called == "torch.load":
                options = {k.arg: ast.unparse(k.value) for k in node.keywords}
                assert options.get("weights_only") == "True", f"{file}: torch.load"
            assert not any(k.arg == "shell" and ast.unparse(k.value) == "True" for k in node.keywords), str(file)
