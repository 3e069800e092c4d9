"""Float graphs of a few nodes, and ways to run them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

CHANNELS, HIDDEN = 16, 32


def model_from_text(text: str, constants: Mapping[str, np.ndarray] | None = None) -> ir.Model:
    """A model from onnx's text format, with node names and initialisers filled in."""
    proto = onnx.parser.parse_model(text)
    for number, node in enumerate(proto.graph.node):
        node.name = node.name or f"{node.op_type.lower()}_{number}"
    for name, array in (constants or {}).items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    proto = onnx.shape_inference.infer_shapes(proto, strict_mode=True)
    onnx.checker.check_model(proto)
    return ir.from_proto(proto)


HEADER = '<ir_version: 10, opset_import: ["" : 20]>\n'


def mlp(seed: int = 0) -> ir.Model:
    """LayerNorm -> fc1 -> GELU -> fc2 (+ input): one MLP block of a transformer."""
    random = np.random.default_rng(seed)
    text = (
        HEADER
        + f"""
    block (float[batch, 5, {CHANNELS}] x) => (float[batch, 5, {CHANNELS}] y) {{
        [norm] normed = LayerNormalization(x, gamma, beta)
        [fc1] product1 = MatMul(normed, w1)
        [fc1_bias] hidden = Add(product1, b1)
        [gelu] active = Gelu(hidden)
        [fc2] product2 = MatMul(active, w2)
        [fc2_bias] output = Add(product2, b2)
        [residual] y = Add(output, x)
    }}"""
    )
    # A spread of channel sizes, as trained LayerNorms have: something to smooth.
    gamma = np.exp(random.normal(0.0, 1.5, CHANNELS))
    constants = {
        "gamma": gamma,
        "beta": random.normal(size=CHANNELS),
        "w1": random.normal(0.0, 0.2, (CHANNELS, HIDDEN)),
        "b1": random.normal(size=HIDDEN),
        "w2": random.normal(0.0, 0.2, (HIDDEN, CHANNELS)),
        "b2": random.normal(size=CHANNELS),
    }
    return model_from_text(text, {k: v.astype(np.float32) for k, v in constants.items()})


def attention_inputs(transposed: bool = False) -> ir.Model:
    """LayerNorm -> q, k and v linears that share its output (as Gemms when `transposed`)."""
    random = np.random.default_rng(3)
    c = CHANNELS
    linear = (
        "[{n}] {n}_y = Gemm<transB: int = 1>(n, {n}_w, {n}_b)"
        if transposed
        else "[{n}] {n}_p = MatMul(n, {n}_w)\n [{n}_bias] {n}_y = Add({n}_p, {n}_b)"
    )
    lines = "\n".join(linear.format(n=n) for n in "qkv")
    shape = f"float[batch, {c}]"
    text = (
        HEADER
        + f"""
    qkv ({shape} x) => ({shape} q_y, {shape} k_y, {shape} v_y) {{
        [norm] n = LayerNormalization(x, gamma, beta)
        {lines}
    }}"""
    )
    constants = {"gamma": np.exp(random.normal(size=c)), "beta": random.normal(size=c)}
    for n in "qkv":
        constants |= {f"{n}_w": random.normal(size=(c, c)), f"{n}_b": random.normal(size=c)}
    return model_from_text(text, {k: v.astype(np.float32) for k, v in constants.items()})


def residual_blocks() -> ir.Model:
    """Stem with max pooling, a block that adds its input, one that adds a projection of it."""
    random = np.random.default_rng(5)
    three = "kernel_shape: ints = [3, 3], pads: ints = [1, 1, 1, 1]"
    text = (
        HEADER
        + f"""
    g (float[batch, 3, 16, 16] x) => (float[batch, 16] y) {{
        [stem] s = Conv<{three}>(x, ks, bs)
        rs = Relu(s)
        p = MaxPool<kernel_shape: ints = [2, 2], strides: ints = [2, 2]>(rs)
        [first] f = Conv<{three}>(p, kf, bf)
        rf = Relu(f)
        [a1] a = Conv<{three}>(rf, ka, ba)
        ra = Relu(a)
        [b1] b = Conv<{three}>(ra, kb, bb)
        [same] sb = Add(b, rf)
        rb = Relu(sb)
        [c1] c = Conv<{three}, strides: ints = [2, 2]>(rb, kc, bc)
        [shortcut] d = Conv<kernel_shape: ints = [1, 1], strides: ints = [2, 2]>(rb, kd, bd)
        [projected] sd = Add(c, d)
        rd = Relu(sd)
        [last] e = Conv<kernel_shape: ints = [1, 1]>(rd, ky)
        g = GlobalAveragePool(e)
        t = Flatten(g)
        [head] y = MatMul(t, w)
    }}"""
    )
    kernels = {"ks": (3, 3), **dict.fromkeys(("kf", "ka", "kb", "kc"), (16, 3))}
    kernels |= {"kd": (16, 1), "ky": (16, 1)}
    constants = {
        name: random.normal(0.0, (2 / (inputs * side * side)) ** 0.5, (16, inputs, side, side))
        for name, (inputs, side) in kernels.items()
    }
    constants |= {f"b{n}": random.normal(0.0, 0.3, 16) for n in "sfabcd"}
    constants["w"] = random.normal(0.0, 0.25, (16, 16))
    return model_from_text(text, {k: v.astype(np.float32) for k, v in constants.items()})


def images(count: int, *shape: int, seed: int = 1) -> list[dict[str, np.ndarray]]:
    """`count` inputs x of batch size 1 from a normal distribution."""
    random = np.random.default_rng(seed)
    return [{"x": random.normal(size=(1, *shape)).astype(np.float32)} for _ in range(count)]


def operators(model: ir.Model) -> list[str]:
    """The operators of the main graph in order."""
    return [node.op_type for node in model.graph]


def run(model: ir.Model, feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Runs a model in ONNX Runtime exactly as written (no graph optimisations)."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        checked(model), options, providers=["CPUExecutionProvider"]
    )
    return list(session.run(None, dict(feed)))


def reference(model: ir.Model, feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Runs a model in ONNX's own reference evaluator."""
    return list(ReferenceEvaluator(onnx.load_from_string(checked(model))).run(None, dict(feed)))


def checked(model: ir.Model) -> bytes:
    """Serialises after ONNX's full check and strict, type-checking shape inference."""
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True)
    return bytes(proto.SerializeToString())


def cosine(a: Sequence[np.ndarray] | np.ndarray, b: Sequence[np.ndarray] | np.ndarray) -> float:
    """Cosine similarity of everything in `a` and `b`."""
    x, y = np.ravel(a).astype(np.float64), np.ravel(b).astype(np.float64)
    return float(x @ y / (np.linalg.norm(x) * np.linalg.norm(y)))
