"""What compilers and exporters make of random networks of every space that needs no further library."""

import io

import numpy as np
import pytest

import autobuild as ab

SPACES = (
    "tiny_mbconv",
    "nas_bench_macro",
    "mnasnet",
    "nas_bench_201",
    "ofa_mbv3(width=1.2, resolution='128-224/32')",
    "ofa_proxyless",
    "ofa_resnet50",
)


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "name"), list(enumerate(SPACES)))
def test_a_random_network_compiles_and_exports(seed, name):
    """Whole-graph ``torch.compile`` (up to AOT Autograd: no code is generated), ``torch.export``, ONNX within 1e-4."""
    torch = pytest.importorskip("torch")
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    space = ab.space(name)
    (arch,) = space.sample(1, seed=seed, design="depth")
    size = space.layers(arch)[0][0].get("resolution", 32)
    torch.manual_seed(seed)
    net = space.realise(arch, num_classes=7, in_channels=3)
    images = torch.randn(2, 3, size, size)
    with torch.no_grad():
        for _ in range(3):
            net(images)  # running statistics that are not all 0 and 1
        net.eval()
        wanted = net(images)
        assert wanted.shape == (2, 7)
        torch._dynamo.reset()
        compiled = torch.compile(net, backend="aot_eager", fullgraph=True)(images)
        torch.testing.assert_close(compiled, wanted, rtol=0, atol=1e-5)
        exported = torch.export.export(net, (images,))
        torch.testing.assert_close(exported.module()(images), wanted, rtol=0, atol=1e-5)
    buffer = io.BytesIO()
    torch.onnx.export(exported, (), dynamo=True, verbose=False, optimize=False).save(buffer)
    session = onnxruntime.InferenceSession(buffer.getvalue(), providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    np.testing.assert_allclose(got, wanted.numpy(), rtol=0, atol=1e-4)
