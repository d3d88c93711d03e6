"""Files and texts from strangers: each is read, or refused by an error of ours, in 2 s and 500 MB, and runs no code.

``AUTOBUILD_FUZZ`` is the number of changed files for each reader (default: a few; ``benchmarks.faults`` takes more).
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import itertools
import json
import os
import pickle
import resource
import shutil
import signal
import struct
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import autobuild as ab
from autobuild.cost.fusion import fuse
from autobuild.cost.hardware import PRESETS, read_hardware
from autobuild.cost.latency.latency_table import LatencyTable
from autobuild.errors import AutobuildError
from autobuild.expressions import TargetExpression, parse_where
from autobuild.graphs.operations import Operation, OperationGraph
from autobuild.labels.importers import read_any
from autobuild.quant import load_quantised
from autobuild.spaces import SearchSpace
from autobuild.spaces.declare import resolutions
from autobuild.studies.result import load_search
from autobuild.studies.storage import open_storage

SECONDS, MEGABYTES = 2.0, 500
SAVED = Path(__file__).parents[1] / "models" / "saved"  # a model as this version writes it
SPACE = ab.space("tiny_mbconv")
EXAMPLES = int(os.environ.get("AUTOBUILD_FUZZ", "15"))


def refused_or_read(read, *given) -> None:
    """Call ``read``; only our own errors may come out, in time and memory."""

    def too_slow(*_):
        raise AssertionError("still running")

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    before = signal.signal(signal.SIGPROF, too_slow)
    signal.setitimer(signal.ITIMER_PROF, 2 * SECONDS)
    try:
        with contextlib.suppress(AutobuildError):
            read(*given)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    assert time.process_time() - began < SECONDS
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) / 1000 < MEGABYTES


def labels(path):
    ab.LabelledSet.read(str(path), SPACE)


def journal(path):
    load_search(f"journal:{path}", "x")


def database(path):
    open_storage(f"sqlite:///{path}")


def graph(path):
    OperationGraph.from_json(text_of(path))


def stored_space(path):
    SearchSpace.from_json(text_of(path))


def text_of(path):
    return path.read_text(errors="replace")


def model(path):
    """Read the saved model with the header in ``path``, whose checksum of itself is made to fit."""
    shutil.copytree(SAVED, folder := path.with_suffix(""), dirs_exist_ok=True)
    try:
        header = json.loads(path.read_text())
        others = {name: digest for name, digest in header["sha256"].items() if name != "model.json"}
        text = json.dumps({**header, "sha256": others}, sort_keys=True)
        header["sha256"]["model.json"] = hashlib.sha256(text.encode()).hexdigest()
        (folder / "model.json").write_text(json.dumps(header))
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError):
        shutil.copy(path, folder / "model.json")
    ab.load_model(folder)


def onnx(path):
    pytest.importorskip("onnx")
    ab.graph_of(str(path))


def quantised(path):
    import torch

    load_quantised(torch.nn.Linear(16, 16), path)


def changed(place, value, of=None):
    """JSON of the saved model's header, or of a space, with one value changed."""
    data = json.loads((SAVED / "model.json").read_text()) if of is None else of
    here = data
    for key in place[:-1]:
        here = here[key]
    here[place[-1]] = value
    return json.dumps(data)


def space_with(place, value):
    return changed(place, value, SPACE.to_dict())


def shared(make, depth=50):
    value = make(1)
    for _ in range(depth):
        value = make(value, value)
    return value


def keyed_by_shared_tuple():
    """``{x: 1}``, where x holds itself twice at each of 50 levels: hashing the key would take 2**50 steps."""
    program = b"(K\x01t" + b"".join(
        b"q" + bytes([n]) + b"0(h" + bytes([n]) + b"h" + bytes([n]) + b"t" for n in range(50)
    )
    return b"\x80\x02}" + program + b"K\x01s."


ALIASES = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
)
HARDWARE = (PRESETS / "edge_npu.yaml").read_text()
DECLARED = "name: x\nunits: {a: '1-2'}\nfeatures: {k: [1, 2]}\n"
KEPT = ["units", 0, "kept"]
DEEP, DIGITS = "[" * 100_000, "1" * 5000


def packed(text, times):
    return gzip.compress(text.encode() * times)


def tarred(*members):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        for name, kind, content in members:
            member = tarfile.TarInfo(name)
            member.type = kind
            if kind == tarfile.REGTYPE:
                member.size = len(content)
            else:
                member.linkname = content
            archive.addfile(member, io.BytesIO(content) if kind == tarfile.REGTYPE else None)
    return data.getvalue()


def parquet(rows):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    archs = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int8)), pa.array(["x"]))
    parquet.write_table(pa.table({"arch": archs, "acc": pa.nulls(rows, pa.float32())}), data := io.BytesIO())
    return data.getvalue()


def networks(kind):
    """Hostile ONNX files by name."""
    pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    x, y = (helper.make_tensor_value_info(name, 1, shape) for name, shape in (("x", (1, 3, 8, 8)), ("y", None)))
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("d", 1)]

    def file(*nodes, weights=(), functions=()):
        made = helper.make_graph(nodes, "g", [x], [y], weights)
        return helper.make_model(made, functions=functions, opset_imports=opsets).SerializeToString()

    def weight(*dims, location=""):
        made = TensorProto(name="w", data_type=1, dims=dims)
        if location:
            made.data_location = TensorProto.EXTERNAL
            made.external_data.add(key="location", value=location)
        return made

    conv = helper.make_node("Conv", ["x", "w"], ["y"])
    if kind == "functions":  # each calls the one before twice
        body = [[helper.make_node("Relu", ["a"], ["b"])]]
        for n in range(40):
            body.append([helper.make_node(f"f{n}", *ends, domain="d") for ends in ((["a"], ["t"]), (["t"], ["b"]))])
        functions = [helper.make_function("d", f"f{n}", ["a"], ["b"], own, opsets) for n, own in enumerate(body)]
        return file(helper.make_node("f40", ["x"], ["y"], domain="d"), functions=functions)
    if kind == "nodes":
        names = ["x", *(f"t{n}" for n in range(99_999)), "y"]
        return file(*(helper.make_node("Relu", [a], [b]) for a, b in itertools.pairwise(names)))
    if kind == "cycle":
        pairs = (("Add", ["x", "b"], ["a"]), ("Relu", ["a"], ["b"]), ("Relu", ["b"], ["y"]))
        return file(*(helper.make_node(*pair) for pair in pairs))
    weights = {
        "negative": weight(-4, 3, 3, 3), "huge": weight(2**62, 2**62, 3, 3),
        "outside": weight(4, 3, 3, 3, location="../../../../etc/passwd"),
        "device": weight(4, 3, 3, 3, location="/dev/zero"),
    }  # fmt: skip
    return file(conv, weights=[weights[kind]])


def command_line(*words):
    from autobuild.cli import main

    assert main(list(words)) == 2  # a mistake of the user, told without a traceback


BOMBS = {
    "aliases in hardware": (read_hardware, "h.yaml", lambda: ALIASES + HARDWARE.replace("1_048_576", "*a9")),
    "digits in hardware": (read_hardware, "h.yaml", lambda: HARDWARE.replace("1_048_576", "1" + "0" * 310)),
    "nesting in hardware": (read_hardware, "h.yaml", lambda: "a: " + DEEP[:20_000]),
    "nul in hardware": (read_hardware, "h.yaml", lambda: "a: \0"),
    "aliases in a space": (ab.space, "s.yaml", lambda: ALIASES + DECLARED.replace("[1, 2]", "*a9")),
    "an alias in itself": (ab.space, "s.yaml", lambda: DECLARED + "about: &a [*a]\n"),
    "nesting in a space": (ab.space, "s.yaml", lambda: "a: " + "{a: " * 50_000),
    "keys in a space": (ab.space, "s.yaml", lambda: "".join(f"k{n}: 1\n" for n in range(100_000))),
    "half a letter in a space": (ab.space, "s.yaml", lambda: DECLARED.replace("x", '"\\uD800"')),
    "half a letter in a stored space": (stored_space, "s.json", lambda: space_with(["name"], "\ud800")),
    "half a letter in JSON": (labels, "x.json", lambda: json.dumps([{"arch": str(SPACE.example), "\ud800": 1}])),
    "a boolean that is none": (ab.space, "s.yaml", lambda: DECLARED + "about: !!bool x\n"),
    "no features of a space": (ab.space, "s.yaml", lambda: DECLARED.partition("{k")[0]),
    "sizes of a space": (ab.space, "s.yaml", lambda: DECLARED + "resolution: '1-10000000000/1'\n"),
    "digits of sizes": (ab.space, "s.yaml", lambda: DECLARED + f"resolution: '{DIGITS}-{DIGITS}/1'\n"),
    "digits of depths": (ab.space, "s.yaml", lambda: DECLARED.replace("1-2", f"{DIGITS}-{DIGITS}")),
    "depth 10^12": (ab.space, "s.yaml", lambda: DECLARED.replace("'1-2'", str(10**12))),
    "10^40 candidates": (ab.space, "s.yaml", lambda: DECLARED.replace("'1-2'", "40").replace("1,", "1,3,4,5,6,7,8,9,")),
    "a stored space, nested": (stored_space, "s.json", lambda: DEEP),
    "a stored space, digits": (stored_space, "s.json", lambda: DIGITS),
    "a stored space that keeps 10^13": (stored_space, "s.json", lambda: space_with(KEPT, [[0, 10**13]])),
    "a stored space that keeps less than none": (stored_space, "s.json", lambda: space_with(KEPT, [[-5, 2]])),
    "a stored space, joined by a text": (stored_space, "s.json", lambda: space_with(["joins"], [["a", 1]])),
    "a stored space, separated by 3": (stored_space, "s.json", lambda: space_with(["separator"], 3)),
    "a wide column in a layer's text": (stored_space, "s.json",
        lambda: space_with(["units", 0, "stages", 0, "text"], "e{expand:>999999999}k{kernel}s{se}")),
    "lists in lists in a pickle": (read_any, "x.pkl", lambda: pickle.dumps(shared(lambda *parts: list(parts)))),
    "tuples in tuples in a pickle": (read_any, "x.pkl", lambda: pickle.dumps(shared(lambda *parts: parts))),
    "tuples in tuples as a key": (read_any, "x.pkl", keyed_by_shared_tuple),
    "columns of CSV": (labels, "x.csv", lambda: "arch," + ",".join(map(str, range(100_000))) + "\n" + "1," * 100_000),
    "headers of CSV": (labels, "x.csv", lambda: "".join(f"arch,c{n}\n" for n in range(20_000))),
    "gzip": (labels, "x.csv.gz", lambda: packed("\0" * 1_000_000, 100)),
    "Parquet": (labels, "x.parquet", lambda: parquet(20_000_000)),
    "rows of JSON that are numbers": (labels, "x.json", lambda: '{"schema": {}, "data": [1, [2], {"arch": "x"}]}'),
    "JSON, nested": (labels, "x.json", lambda: DEEP),
    "JSON lines, nested": (labels, "x.jsonl", lambda: '{"a":' * 100_000),
    "tar members outside": (read_any, "x.tar.gz", lambda: tarred(("../../x.json", tarfile.REGTYPE, b"{}"))),
    "a symbolic link in a tar": (read_any, "x.tar.gz", lambda: tarred(("x.json", tarfile.SYMTYPE, "/etc/passwd"))),
    "a hard link in a tar": (read_any, "x.tar.gz", lambda: tarred(("x.json", tarfile.LNKTYPE, "/etc/passwd"))),
    "a tar member, nested": (read_any, "x.tar.gz", lambda: tarred(("x.json", tarfile.REGTYPE, DEEP.encode()))),
    "a tar of zeros": (read_any, "x.tar.gz", lambda: packed("\0" * 1_000_000, 100)),
    "a model, nested": (model, "m.json", lambda: DEEP),
    "a model, digits": (model, "m.json", lambda: changed(["seed"], 0).replace('"seed": 0', f'"seed": {DIGITS}')),
    "a model, a huge base": (model, "m.json", lambda: changed(["ensemble", "base"], 10**400)),
    "a model whose source is itself": (model, "m.json", lambda: changed(["known"], [{"source": "x", "folder": "."}])),
    "a source outside of a model": (model, "m.json", lambda: changed(["known"], [{"source": "", "folder": "../m"}])),
    "a model without weights": (model, "m.json", lambda: changed(["ensemble", "weights"], [])),
    "a model without checksums": (model, "m.json", lambda: changed(["sha256"], 3)),
    "a model of no space": (model, "m.json", lambda: changed(["space"], [[]])),
    "a graph, nested": (graph, "g.json", lambda: DEEP),
    "a graph, digits": (graph, "g.json", lambda: DIGITS),
    "a graph of numbers": (graph, "g.json", lambda: '{"nodes": [1], "edges": [], "outputs": []}'),
    "a graph with odd edges": (graph, "g.json", lambda: '{"nodes": [], "edges": [1], "outputs": ["a"]}'),
    **{f"ONNX: {kind}": (onnx, "m.onnx", lambda kind=kind: networks(kind))
       for kind in ("functions", "nodes", "cycle", "negative", "huge", "outside", "device")},
    "safetensors with a header of 2^60": (quantised, "q.safetensors", lambda: struct.pack("<Q", 1 << 60) + b"{}"),
    "a latency table, nested": (LatencyTable, "t.json", lambda: DEEP),
    "a torn database": (database, "s.db", lambda: b"SQLite format 3\0" + b"x" * 5000),
    "a text as database": (database, "s.db", lambda: "hello" * 1000),
    "a journal without a space": (journal, "j", lambda: small_journal().replace(b"space_json", b"space_jsoo")),
    **{f"a journal whose {key} is a list": (journal, "j",
        lambda key=key: small_journal().replace(b'"%s":' % key.encode(), b'"%s":[],"x":' % key.encode()))
       for key in ("space_json", "autobuild", "targets")},
    **{f"a journal of {line[:12]!r}": (journal, "j", lambda line=line: line + b"\n")
       for line in (b"[]", b"3", b"null", b"\xff\xfe", b"[" * 100_000, b"1" * 5000,
                    b'{"op_code": 99, "worker_id": "x"}', b'{"op_code": 0, "worker_id": "x"}')},
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_bombs(name, tmp_path):
    read, file, content = BOMBS[name]
    made = content()
    path = tmp_path / file
    path.write_bytes(made if isinstance(made, bytes) else made.encode())
    refused_or_read(read, path)


@pytest.mark.parametrize(
    "text",
    ["9**9**9**9", "(" * 10_000, "(" * 900 + "a" + ")" * 900, "+".join(["a"] * 100_000), "-" * 1900 + "a", "9" * 1999,
     "abs(" * 400, "a\0", "\ud800", "f'{" * 9, "`" * 1999, "[" * 200, "lambda:" * 280 + "a", "a.__class__", "'\\N{"],
)  # fmt: skip
def test_expressions(text):
    refused_or_read(lambda: TargetExpression.parse(text).evaluate(lambda name: np.ones(3)))
    refused_or_read(parse_where, text + " <= 1")
    refused_or_read(SPACE.parse, text)


@pytest.mark.parametrize("bound", ["nan", "inf", "-inf", "NaN", "1e999"])
def test_bounds_that_are_no_numbers_are_refused_as_they_are_read(bound):
    with pytest.raises(ab.errors.TargetError, match=r"finite number|too large"):
        parse_where(f"acc <= {bound}")


def test_cell_strings():
    for name in ("nas_bench_201", "ofa_mbv3", "nas_bench_macro"):
        for text in ("|" * 1_000_000, "|nor_conv_3x3~0|+" * 50_000, "e3k3-" * 100_000, "9" * 1_000_000):
            refused_or_read(ab.space(name).parse, text)


@pytest.mark.parametrize(
    "address",
    ["sqlite:///a\0b", "journal:a\0b", "postgresql://me@host:abc/x", "postgresql://me@host:99999999/x", "foo://x",
     "sqlite+foo://x", "://", "sqlite:////proc/x/y?timeout=z"],
)  # fmt: skip
def test_addresses(address):
    refused_or_read(open_storage, address)


@pytest.mark.parametrize(
    "words",
    [["fit", "labels=" + "[" * 2000], ["fit", "labels='"], ["fit", "labels=${labels}"], ["fit", "+" * 1000],
     ["fit", "labels=tiny_mbconv", "seed=" + "9" * 400], ["spaces", "space=\0"], ["fit", "labels=" + "x" * 100_000],
     ["fit", "labels=\udcff.csv"], ["sample", "out=\udcff"], ["fit", "labels=/dev/zero"], ["fit", "labels=/"],
     ["predict", "model=/dev/zero", "archs=x"], ["sample", "space=zero.yaml"], ["cost", "hardware=zero.yaml", "arch=x"],
     ["predict", "model=zero.yaml", "archs=zero.txt"], ["label", "archs=zero.txt"], ["sample", "space=zero.json"]],
)  # fmt: skip
def test_command_lines(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for ending in ("yaml", "json", "txt"):
        os.symlink("/dev/zero", f"zero.{ending}")
    refused_or_read(command_line, *words)


def strided(rows, step):
    """A convolution that reads every ``step``-th of ``rows`` rows."""
    x = Operation("x", "input", (), ((1, 8, rows, 4),))
    conv = Operation(
        "conv", "conv", ((1, 8, rows, 4),), ((1, 8, rows // step, 4),), kernel=(3, 3), stride=(step, 1),
        dilation=(1, 1), padding=((1, 1), (1, 1)), groups=1, weight_bytes=576, weight_elements=576,
    )  # fmt: skip
    return OperationGraph((x, conv), edges=((0, 1),), outputs=(1,))


@pytest.mark.parametrize("scheme", ["mixed", "brr"])
def test_limits_reach_inside_a_group(scheme):
    """A convolution over 2^40 rows that reads every 2^20th: its rows are counted, not listed."""
    network = strided(2**40, 2**20)
    refused_or_read(lambda: fuse(network, buffer_bytes=2**20, scheme=scheme, time_limit_s=1).metrics)


# -- no code -----------------------------------------------------------------------------------------------------------


class Runs:
    """Unpickling it runs a program that leaves a file."""

    def __reduce__(self):
        return os.mkdir, (str(Path("ran").absolute()),)


def program(protocol=2):
    return pickle.dumps([{"original config": Runs()}], protocol)


@pytest.mark.parametrize(
    ("read", "file", "content"),
    [
        (read_any, "x.pkl", program),
        (lambda path: read_any(path, "nas_bench_graph"), "x.bench", program),
        (lambda path: read_any(path, "quant_cache"), "x.pkl", program),
        (ab.space, "s.yaml", lambda: "name: !!python/object/apply:os.mkdir [ran]"),
        (read_hardware, "h.yaml", lambda: "name: !!python/object/apply:os.mkdir [ran]"),
        (lambda path: TargetExpression.parse(path.read_text()), "t.txt", lambda: "__import__('os').mkdir('ran')"),
        (lambda path: parse_where(path.read_text()), "t.txt", lambda: "__import__('os').mkdir('ran') <= 1"),
        (model, "m.json", lambda: changed(["known"], [{"function": "os:mkdir"}])),
        (quantised, "q.safetensors", program),
        (onnx, "m.onnx", program),
        (labels, "x.csv", lambda: "arch,acc\n__import__('os').mkdir('ran'),=cmd|'/c calc'!A1\n"),
        (journal, "j", lambda: program(0) + b"\n"),
    ],
)
def test_a_file_from_a_stranger_runs_no_code(read, file, content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / file
    made = content()
    path.write_bytes(made if isinstance(made, bytes) else made.encode())
    with pytest.raises(AutobuildError):
        read(path)
    assert not (tmp_path / "ran").exists()


def test_a_folder_of_latencies_and_a_checkpoint_run_no_code(tmp_path, monkeypatch):
    import torch

    from autobuild.evaluate.ofa_weights import read_checkpoint

    monkeypatch.chdir(tmp_path)
    (tmp_path / "latency").mkdir()
    torch.save(Runs(), tmp_path / "str_arch2idx.pt")
    for read, path in ((read_any, tmp_path), (read_checkpoint, tmp_path / "str_arch2idx.pt")):
        with pytest.raises(AutobuildError):
            read(path)
    assert not (tmp_path / "ran").exists()


def test_functions_of_a_model_run_if_the_caller_names_them(tmp_path):
    (tmp_path / "m.json").write_text(changed(["known"], [{"function": "builtins:len"}]))
    with pytest.raises(
        ab.errors.ModelError, match=r"the word of a file alone runs no code.*features=\['builtins:len'\]"
    ):
        model(tmp_path / "m.json")


# -- changed files -----------------------------------------------------------------------------------------------------


def small_network():
    """Bytes of an ONNX file of one convolution."""
    pytest.importorskip("onnx")
    from onnx import helper

    x, y = (helper.make_tensor_value_info(name, 1, shape) for name, shape in (("x", (1, 3, 8, 8)), ("y", None)))
    weight = helper.make_tensor("w", 1, (4, 3, 3, 3), [0.5] * 108)
    graph = helper.make_graph([helper.make_node("Conv", ["x", "w"], ["y"])], "g", [x], [y], [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()


def small_journal():
    """Bytes of a journal of one search."""
    with tempfile.TemporaryDirectory() as folder:
        ab.search(
            SPACE, lambda arch: {"acc": 1.0}, n_trials=2, storage=f"journal:{folder}/j", name="x", sampler="random"
        )
        return (Path(folder) / "j").read_bytes()


def small_weights():
    """Bytes of a quantised linear layer."""
    import torch

    with tempfile.TemporaryDirectory() as folder, ab.quantise(torch.nn.Linear(16, 16), "uaq4") as made:
        made.save(Path(folder) / "q")
        return (Path(folder) / "q").read_bytes()


SEEDS = {
    "network.onnx": (onnx, small_network),
    "search.journal": (journal, small_journal),
    "weights.safetensors": (quantised, small_weights),
    "graph.json": (graph, lambda: strided(64, 2).to_json().encode()),
    "cell.txt": (lambda path: ab.space("nas_bench_201").parse(text_of(path)),
                 lambda: str(ab.space("nas_bench_201").example).encode()),
    "labels.csv": (labels, b"arch,acc\n" + "".join(f"{a},{n}.5\n" for n, a in enumerate(SPACE.sample(4))).encode()),
    "labels.json": (labels, json.dumps([{"arch": str(a), "acc": 1.5} for a in SPACE.sample(4)]).encode()),
    "labels.jsonl": (labels, "".join(json.dumps({"arch": str(a), "acc": 1}) + "\n" for a in SPACE.sample(4)).encode()),
    "cache.pkl": (read_any, pickle.dumps([{"original config": [224, [["mbconv3_e6_k5"] * 2] * 4], "acc": np.ones(1)}])),
    "accel.tar.gz": (read_any, tarred(("x.json", tarfile.REGTYPE, b'{"architecture": {"block0_e": 1}}'))),
    "space.yaml": (ab.space, DECLARED.encode()),
    "space.json": (stored_space, SPACE.to_json().encode()),
    "hardware.yaml": (read_hardware, HARDWARE.encode()),
    "model.json": (model, (SAVED / "model.json").read_bytes()),
    "expression.txt": (lambda path: TargetExpression.parse(text_of(path)), b"100*acc - log(`top-1`)**2"),
    "limits.txt": (lambda path: parse_where(text_of(path)), b"1 <= latency_ms <= 8 and 2*params < 6e6"),
    "resolution.txt": (lambda path: resolutions(text_of(path)), b"128-224/32"),
    "arch.txt": (lambda path: SPACE.parse(text_of(path)), str(SPACE.example).encode()),
}  # fmt: skip


@pytest.mark.parametrize("name", SEEDS)
def test_changed_files(name, tmp_path):
    read, seed = SEEDS[name]
    seed = seed if isinstance(seed, bytes) else seed()
    path = tmp_path / name
    changes = st.tuples(
        st.sampled_from(["put", "cut", "again"]), st.integers(0, len(seed)), st.integers(0, 40), st.binary(max_size=6)
    )

    @settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck), deadline=None, database=None)
    @given(st.lists(changes, min_size=1, max_size=5))
    def check(edits):
        data = seed
        for kind, place, length, new in edits:
            part = {"put": new, "cut": b"", "again": data[place : place + length] * 3}[kind]
            data = data[:place] + part + data[place + (0 if kind == "put" else length) :]
        path.write_bytes(data)
        refused_or_read(read, path)

    check()
