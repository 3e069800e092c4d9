"""DALL·E (Ramesh et al. 2021, "Zero-Shot Text-to-Image Generation"): images from texts.

A discrete VAE (`export.zoo.dvae`) makes a grid of codes of an image. A transformer models a text
and the codes of an image as one sequence, the next token from those before (section 2.2). A text
in, codes are drawn one after another, of which the dVAE's decoder makes an image.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from export.attention import HIDDEN
from export.zoo.causal import CausalLayer
from export.zoo.dalle_config import DalleConfig
from export.zoo.dalle_masks import kinds, sparse_biases
from export.zoo.dalle_samples import decoder_samples, encoder_samples, step_samples
from export.zoo.dvae import Dvae
from export.zoo.family import Family, Part
from export.zoo.mixing import fuse_mixes
from export.zoo.reference import OwnModule


class Dalle(nn.Module):
    """Both; as a graph, the text and the first code after it."""

    biases: Tensor

    def __init__(self, config: DalleConfig) -> None:
        """Random weights, from torch's global seed."""
        super().__init__()
        width, grid = config.width, config.images.grid
        self.config = config
        self.dvae = Dvae(config.images)
        self.texts = nn.Embedding(config.text_tokens, width)
        # A padding token for each position of a text (section 2.2).
        self.padding = nn.Embedding(config.text_length, width)
        self.positions = nn.Embedding(config.text_length, width)
        self.codes = nn.Embedding(config.images.codes, width)
        self.rows, self.columns = nn.Embedding(grid, width), nn.Embedding(grid, width)
        self.layers = nn.ModuleList(CausalLayer(width, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.text_head = nn.Linear(width, config.text_tokens)
        self.code_head = nn.Linear(width, config.images.codes)
        self.kinds = kinds(config.layers)
        biases = sparse_biases(config.text_length, grid, config.kernel)
        self.register_buffer("biases", biases, persistent=False)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2 and not name.startswith("dvae."):
                nn.init.normal_(parameter, std=0.02)

    def forward(self, input_ids: Tensor) -> dict[str, Tensor]:
        """A text, before any code.

        Args:
            input_ids: int64 (B, text_length), zeros after the mark of the end.

        Returns:
            `logits` (B, codes) of the first code, and `cache` (B, 2 layers, heads, N, width /
            heads): keys, then values, of the first layer and so on, with room for all inputs, N of
            them; zeros where there is none yet.
        """
        tokens, cache = self.seen(self.text_tokens(input_ids))
        room = self.config.places - input_ids.shape[1]
        return {
            "logits": self.code_head(tokens[:, -1]),
            "cache": functional.pad(cache, (0, 0, 0, room)),
        }

    def seen(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """What the transformer makes of its first n inputs (B, n, width), and its cache."""
        count, cache = tokens.shape[1], []
        for kind, layer in zip(self.kinds, self.layers, strict=True):
            tokens, new = layer(tokens, self.biases[kind, :count, :count])
            cache.append(new)
        return self.norm(tokens), torch.cat(cache, dim=1)

    def text_tokens(self, input_ids: Tensor) -> Tensor:
        """Embedded (B, text_length, width)."""
        places = torch.arange(self.config.text_length, device=input_ids.device)
        # The mark of the end is the highest number of all.
        padded = places > input_ids.argmax(dim=1, keepdim=True)
        tokens = torch.where(padded[..., None], self.padding.weight, self.texts(input_ids))
        return tokens + self.positions.weight

    def code_tokens(self, codes: Tensor, places: Tensor) -> Tensor:
        """Codes (B, n) at places (B, n) or (n,) of the grid, in raster order, embedded."""
        grid = self.rows.weight[:, None] + self.columns.weight
        tokens: Tensor = self.codes(codes) + grid.flatten(0, 1)[places]
        return tokens


class DalleStep(nn.Module):
    """One more code."""

    biases: Tensor

    def __init__(self, whole: Dalle) -> None:
        """Shares the parameters of `whole`."""
        super().__init__()
        self.whole = whole
        # With a last place, of the token itself, that every token sees.
        self.register_buffer("biases", functional.pad(whole.biases, (0, 1)), persistent=False)

    def forward(self, input_ids: Tensor, position: Tensor, cache: Tensor) -> dict[str, Tensor]:
        """The code after one.

        Args:
            input_ids: int64 (B, 1), a code.
            position: int64 (B,), its place among the transformer's inputs: `text_length` for the
                first code.
            cache: as `Dalle` gives it, right at all places before `position`; what it holds
                elsewhere does not matter.

        Returns:
            `logits` (B, codes) of the next code, and `news` (B, 2 layers, heads, width / heads),
            which belongs into the cache at `position`.
        """
        whole = self.whole
        place = (position - whole.config.text_length).clamp(min=0)
        tokens = whole.code_tokens(input_ids, place[:, None])
        places = torch.arange(self.biases.shape[-1], device=position.device)
        # In the cache its own place is not filled yet.
        itself = (places == position[:, None]) * HIDDEN
        news = []
        for number, (kind, layer) in enumerate(zip(whole.kinds, whole.layers, strict=True)):
            bias = (self.biases[kind][position] + itself)[:, None, None]
            tokens, new = layer(tokens, bias, cache[:, 2 * number : 2 * number + 2])
            news.append(new)
        logits = whole.code_head(whole.norm(tokens))[:, 0]
        return {"logits": logits, "news": torch.cat(news, dim=1)[:, :, :, 0]}


class DalleEncoder(nn.Module):
    """The dVAE's encoder as a graph."""

    def __init__(self, whole: Dalle) -> None:
        """Shares the parameters of `whole`."""
        super().__init__()
        self.encoder = whole.dvae.encoder

    def forward(self, pixel_values: Tensor) -> dict[str, Tensor]:
        """Images (B, 3, H, W) in 0..1 -> `logits` (B, codes, grid, grid)."""
        return {"logits": self.encoder(pixel_values)}


class DalleDecoder(nn.Module):
    """The dVAE's decoder as a graph."""

    def __init__(self, whole: Dalle) -> None:
        """Shares the parameters of `whole`."""
        super().__init__()
        self.decoder, self.grid = whole.dvae.decoder, whole.config.images.grid

    def forward(self, codes: Tensor) -> dict[str, Tensor]:
        """Codes int64 (B, grid²), in raster order -> `restored` (B, 3, H, W), about 0..1."""
        return {"restored": self.decoder(codes.view(-1, self.grid, self.grid))}


def _part(made: Callable[[Dalle], nn.Module]) -> Callable[[nn.Module], nn.Module]:
    def of(module: nn.Module) -> nn.Module:
        assert isinstance(module, Dalle)
        return made(module)

    return of


FAMILY = Family(
    reference=OwnModule(DalleConfig, Dalle),
    outputs=("logits", "cache"),
    ragged=False,
    use_operators=fuse_mixes,
    parts={
        "step": Part(_part(DalleStep), ("logits", "news"), step_samples),
        "encoder": Part(_part(DalleEncoder), ("logits",), encoder_samples),
        "decoder": Part(_part(DalleDecoder), ("restored",), decoder_samples),
    },
)
