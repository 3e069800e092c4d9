"""Where a family's reference module comes from: `transformers`, or a module of this package."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import transformers
from torch import Tensor, nn


class Mismatch(NamedTuple):
    """Tensor names by which weights and a module differ; of the misshapen, both shapes too."""

    missing: list[str]
    surplus: list[str]
    misshapen: list[str]


class ReferenceClass(Protocol):
    """Builds the reference modules of a family from the `config` of a record."""

    def settings(self) -> frozenset[str]:
        """Every key that a configuration may have."""

    def build(self, config: Mapping[str, Any]) -> nn.Module:
        """A module with random weights, from torch's global seed."""

    def fill(
        self, config: Mapping[str, Any], state: Mapping[str, Tensor]
    ) -> tuple[nn.Module, Mismatch]:
        """A module with these weights, and how they differ from what it needs."""


@dataclasses.dataclass(frozen=True)
class FromTransformers:
    """A model of `transformers`.

    Attributes:
        model_type: of its configuration.
        auto_class: name of the Auto class that builds it.
    """

    model_type: str
    auto_class: str

    def settings(self) -> frozenset[str]:
        """See `ReferenceClass`."""
        known = transformers.AutoConfig.for_model(self.model_type)
        return frozenset({*vars(known), *known.attribute_map, "num_labels"})

    def build(self, config: Mapping[str, Any]) -> nn.Module:
        """See `ReferenceClass`."""
        module: nn.Module = self._auto.from_config(self._config(config))
        return module

    def fill(
        self, config: Mapping[str, Any], state: Mapping[str, Tensor]
    ) -> tuple[nn.Module, Mismatch]:
        """See `ReferenceClass`; names of older releases of `transformers` are understood."""
        settings = self._config(config)
        with _quiet():
            module, info = self._auto._model_mapping[type(settings)].from_pretrained(
                None, config=settings, state_dict=dict(state), output_loading_info=True,
                ignore_mismatched_sizes=True,
            )  # fmt: skip
        misshapen = [
            f"{name} {tuple(found)} not {tuple(wanted)}"
            for name, found, wanted in info["mismatched_keys"]
        ]
        missing, surplus = _weights(info["missing_keys"]), sorted(info["unexpected_keys"])
        return module, Mismatch(missing, surplus, sorted(misshapen))

    @property
    def _auto(self) -> Any:
        return getattr(transformers, self.auto_class)

    def _config(self, config: Mapping[str, Any]) -> Any:
        return transformers.AutoConfig.for_model(self.model_type, **config)


@dataclasses.dataclass(frozen=True)
class OwnModule:
    """A module of this package.

    Attributes:
        config: the dataclass of its configuration.
        module: makes the module of a configuration; `forward` takes the graph's inputs by name
            and returns its outputs in a dict.
    """

    config: type[Any]
    module: Callable[[Any], nn.Module]

    def settings(self) -> frozenset[str]:
        """See `ReferenceClass`."""
        return frozenset(field.name for field in dataclasses.fields(self.config))

    def build(self, config: Mapping[str, Any]) -> nn.Module:
        """See `ReferenceClass`."""
        return self.module(self.config(**config))

    def fill(
        self, config: Mapping[str, Any], state: Mapping[str, Tensor]
    ) -> tuple[nn.Module, Mismatch]:
        """See `ReferenceClass`."""
        module = self.build(config)
        # The counters of batch norms, the only integers, are no weights.
        state_dict = module.state_dict().items()
        needed = {name: tensor for name, tensor in state_dict if tensor.is_floating_point()}
        misshapen = [
            f"{name} {tuple(state[name].shape)} not {tuple(tensor.shape)}"
            for name, tensor in needed.items()
            if name in state and state[name].shape != tensor.shape
        ]
        found = Mismatch(
            _weights(needed.keys() - state.keys()),
            sorted(state.keys() - needed.keys()),
            sorted(misshapen),
        )
        if not any(found):
            module.load_state_dict(dict(state))
        return module, found


def _weights(names: Iterable[str]) -> list[str]:
    """Sorted, without batch norms' counts of batches, which nothing reads: files may lack them."""
    return sorted(name for name in names if not name.endswith(".num_batches_tracked"))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without `transformers`' progress bar and report: a mismatch is told in one line."""
    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity(logging.CRITICAL)
    transformers.logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(verbosity)
