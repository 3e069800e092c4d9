"""IPT: the paper's parameters, its equations with PyTorch's own parts, and the exported graph."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from safetensors.torch import save_file
from tiny_models import example_images
from torch import Tensor, nn
from torch.nn import functional

from export.spec import ModelSpec, find_model, load_models
from export.to_onnx import onnx_from_module
from export.weights import WeightsError, load_reference
from export.zoo import find_family
from export.zoo.ipt import SCALES, Config, Ipt

onnxruntime = pytest.importorskip("onnxruntime")

TASKS = ("derain", "x2", "x3", "x4")
SMALL: dict[str, Any] = {
    "tasks": TASKS,
    "image_size": 12,
    "features": 4,
    "layers": 2,
    "heads": 3,
    "mlp_ratio": 2,
    "pixel_range": 2.0,
}
# float32 sums in another order: a few units in the last place for each of some fifteen layers, on
# values of order 1. An error in any weight or embedding shows above 1e-2.
TOLERANCE = 1e-5


def small(task: str, **changes: Any) -> Ipt:
    torch.manual_seed(0)
    module = Ipt(Config(task, **{**SMALL, **changes})).eval()
    with torch.no_grad():  # so that embeddings and norms count as much as everything else
        for name, parameter in module.named_parameters():
            if "embedding" in name or "norm" in name:
                parameter.copy_(torch.rand_like(parameter) + 0.5)
    return module


def record(task: str, **changes: Any) -> ModelSpec:
    return ModelSpec(
        name="small",
        family="ipt",
        task="restoration",
        config={**SMALL, "task": task, **changes},
        preprocess={"size": 12},
        drift={},
    )


@pytest.mark.parametrize("task", SCALES)
def test_full_size_models_have_the_papers_parameters(task: str) -> None:
    config = find_model(f"ipt_{task}", load_models()).config
    build = find_family("ipt").reference.build
    with torch.device("meta"):
        every, single = build(config), build({**config, "tasks": (task,)})
    count = {"every": sum(p.numel() for p in every.parameters())}
    count["single"] = sum(p.numel() for p in single.parameters())
    assert count["every"] == 118_892_370
    # The paper's 115.5 million are a model of one task: x2, to the digit.
    assert abs(count["single"] / 115.5e6 - 1) < 2e-3
    assert task != "x2" or count["single"] == 115_460_419


class Paper(nn.Module):
    """Equations 1 to 3 for one layer of each kind's attention, by PyTorch's own modules."""

    def __init__(self, ours: Ipt) -> None:
        super().__init__()
        self.ours = ours

    def attention(self, part: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        width = query.shape[-1]
        theirs = nn.MultiheadAttention(width, part.heads, bias=False, batch_first=True)
        stacked = [part.q_proj.weight, part.k_proj.weight, part.v_proj.weight]
        theirs.in_proj_weight.data = torch.cat(stacked).detach()
        theirs.out_proj.weight.data = part.o_proj.weight.detach()
        return theirs(query, key, value, need_weights=False)[0]

    def forward(self, image: Tensor, task: str) -> Tensor:
        ours, side = self.ours, self.ours.config.patch_size
        index = ours.config.tasks.index(task)
        embedding = ours.task_embedding[index]
        maps = ours.heads[index]((image - ours.mean) * ours.config.pixel_range)
        f = functional.unfold(maps, side, stride=side).transpose(1, 2)
        z = f + ours.linear_encoding(f) + ours.position_embedding
        for layer in ours.encoder:
            y = layer.norm1(z)
            z = z + self.attention(layer.self_attn, y, y, y)
            z = z + layer.mlp(layer.norm2(z))
        encoded = z
        for layer in ours.decoder:
            y = layer.norm1(z)
            z = z + self.attention(layer.self_attn, y + embedding, y + embedding, y)
            z = z + self.attention(layer.cross_attn, layer.norm2(z) + embedding, encoded, encoded)
            z = z + layer.mlp(layer.norm3(z))
        z = (z + ours.mlp_head(z)).transpose(1, 2)
        maps = maps + functional.fold(z, maps.shape[2:], side, stride=side)
        return ours.tails[index](maps) / ours.config.pixel_range + ours.mean


@torch.no_grad()
@pytest.mark.parametrize("task", TASKS)
def test_the_body_is_the_papers_equations(task: str) -> None:
    module, image = small(task), torch.rand(2, 3, 12, 12)
    found = module(pixel_values=image)["restored"]
    assert found.shape == (2, 3, 12 * SCALES[task], 12 * SCALES[task])
    torch.testing.assert_close(found, Paper(module)(image, task), atol=TOLERANCE, rtol=0)


@torch.no_grad()
def test_tasks_share_the_body_alone() -> None:
    """Of another task's head, tail and embedding nothing is used; of the body everything."""
    module, image = small("x2"), torch.rand(1, 3, 12, 12)
    before = module(pixel_values=image)["restored"]
    for part in (module.heads, module.tails):
        nn.init.zeros_(part[TASKS.index("x3")][0 if part is module.heads else 1].weight)
    module.task_embedding[TASKS.index("x3")] = 0
    assert torch.equal(module(pixel_values=image)["restored"], before)
    for change in (module.task_embedding[TASKS.index("x2")], module.position_embedding):
        kept = change.clone()
        change.zero_()
        assert (module(pixel_values=image)["restored"] - before).abs().max() > 1e-3
        change.copy_(kept)


@pytest.fixture(scope="module", params=("derain", "x2", "x3"))
def exported(request: pytest.FixtureRequest) -> tuple[Ipt, ir.Model]:
    module = small(request.param)
    return module, onnx_from_module(module, find_family("ipt"), example_images(12, 12))


def test_every_batch_equals_pytorch(exported: tuple[Ipt, ir.Model]) -> None:
    module, model = exported
    session = onnxruntime.InferenceSession(
        ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    for batch in (1, 3):
        image = torch.rand(batch, 3, 12, 12)
        with torch.no_grad():
            expected = module(pixel_values=image)["restored"].numpy()
        (found,) = session.run(None, {"pixel_values": image.numpy()})
        np.testing.assert_allclose(found, expected, atol=TOLERANCE, rtol=0)


def test_the_graph_holds_one_task_and_attention_as_one_operator(
    exported: tuple[Ipt, ir.Model],
) -> None:
    module, model = exported
    operators = Counter(node.op_type for node in model.graph)
    assert operators["FusedAttention"] == 2 + 2 * 2
    assert operators["Softmax"] == 0
    growing = int(SCALES[module.config.task] > 1)
    assert operators["Conv"] == 5 + growing + 1  # one head, one tail
    assert operators["DepthToSpace"] == growing


def test_one_file_has_the_weights_of_every_task(tmp_path: Path) -> None:
    state = {name: tensor.contiguous() for name, tensor in small("x2").state_dict().items()}
    file = tmp_path / "all.safetensors"
    save_file(state, file)
    for task in TASKS:
        module = load_reference(record(task), str(file)).module
        assert isinstance(module, Ipt) and module.config.task == task
        assert all(torch.equal(module.state_dict()[name], state[name]) for name in state)
    save_file({name: t for name, t in state.items() if not name.startswith("heads.3.")}, file)
    with pytest.raises(WeightsError, match=r"is not small's: 10 missing: heads\.3\.0\.bias"):
        load_reference(record("x2"), str(file))


def test_the_authors_names_are_understood(tmp_path: Path) -> None:
    """A state dict in the naming of github.com/huawei-noah/Pretrained-IPT, of one task."""
    module = small("x4", tasks=("x4",))
    theirs: dict[str, Tensor] = {"sub_mean.weight": torch.eye(3), "add_mean.bias": torch.ones(3)}
    state = module.state_dict()
    for name, tensor in state.items():
        new = name.replace("heads.", "head.").replace("tails.", "tail.")
        new = new.replace(".conv1.", ".body.0.").replace(".conv2.", ".body.2.")
        if name.startswith(("encoder.", "decoder.")):
            kind, rest = name.split(".", 1)
            rest = rest.replace("cross_attn", "multihead_attn").replace("o_proj", "out_proj")
            rest = rest.replace("mlp.0", "linear1").replace("mlp.2", "linear2")
            new = f"body.{kind}.layers.{rest}"
            if "q_proj" in name:
                parts = [state[name.replace("q_proj", f"{part}_proj")] for part in "qkv"]
                theirs[new.replace("q_proj.weight", "in_proj_weight")] = torch.cat(parts)
            if any(f".{part}_proj" in name for part in "qkv"):
                continue
        elif name.startswith(("linear_encoding", "mlp_head")):
            new = f"body.{name}".replace("mlp_head.2", "mlp_head.3")
        elif name == "task_embedding":
            new, tensor = "body.query_embed.weight", tensor.flatten(1)
        elif name == "position_embedding":
            new = "body.position_encoding.pe.weight"
        theirs[new] = tensor
    theirs["body.position_encoding.position_ids"] = torch.arange(16)[None]
    torch.save(theirs, tmp_path / "IPT.pt")
    found = load_reference(record("x4", tasks=("x4",)), str(tmp_path / "IPT.pt"))
    assert found.source["naming"] == "Pretrained-IPT"
    loaded = found.module.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "x8"}, r"no task 'x8'; use one of derain, x2, x3, x4"),
        ({"tasks": ("x2", "blur")}, r"no task 'blur'; use one of denoise30, .*"),
        ({"image_size": 13}, r"image_size 13, patch_size 3 .* expected whole patches"),
        ({"heads": 5}, r"5 heads on width 36"),
    ],
    ids=["task", "tasks", "image", "heads"],
)
def test_a_configuration_that_makes_no_sense_is_refused(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Config(**{**SMALL, "task": "x2", **changes})


@pytest.mark.slow
def test_the_full_size_graph_holds_the_model() -> None:
    family = find_family("ipt")
    module = family.reference.build(find_model("ipt_x4", load_models()).config).eval()
    model = onnx_from_module(module, family, example_images(48, 48))
    operators = Counter(node.op_type for node in model.graph)
    assert operators["FusedAttention"] == 3 * 12
    assert [str(d) for d in model.graph.outputs[0].shape] == ["batch", "3", "192", "192"]
