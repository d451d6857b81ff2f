"""Networks whose features describe style, by name, all with one face.

`compact` is ours and shipped; `filters` needs no weights; the others are torchvision's, their weights from a file,
torch's cache or a download. Max pooling may be replaced by average pooling (Gatys et al. 2016, section 2).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sketchcolor.devices import bfloat16_is_quick
from sketchcolor.errors import SettingsError, WeightsError
from sketchcolor.style.compact import MIXED, CompactEncoder, layer_names, normalised
from sketchcolor.style.recomputing import recomputing
from sketchcolor.weights import cached_path, load_file, load_shipped

Extract = Callable[[Tensor, Sequence[str]], dict[str, Tensor]]


@dataclass(frozen=True)
class Backbone:
    """A frozen network, used as `backbone(image, layers)`.

    image: float (1, 3, H, W) RGB in [0, 1]. Gives {layer: float (1, C, h, w)}. `layers` are all names it knows, in
    order of depth; `minimum_side` is the smallest picture it takes. `halo`: how far a feature looks, in pixels, rounded
    up to a multiple of `stride`, the coarsest layer's; 0 where it is not known, and tiles are impossible. `spare`:
    the same features with the finest ones not kept for the gradient, but computed again (Chen et al. 2016).
    """

    name: str
    layers: tuple[str, ...]
    style_layers: tuple[str, ...]
    content_layers: tuple[str, ...]
    minimum_side: int
    extract: Extract
    halo: int = 0
    stride: int = 16
    spare: Extract | None = None

    def __call__(self, image: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """Features of the named layers; the network is run no deeper than the last of them."""
        return self.extract(image, layers)

    def sparing(self) -> Backbone:
        """This backbone in less memory and more time; itself, where it has no such way."""
        return self if self.spare is None else replace(self, extract=self.spare, spare=None)

    def choose(self, names: str, default: Sequence[str]) -> tuple[str, ...]:
        """Layers from a comma-separated list, or the default where it is empty. Raises SettingsError."""
        chosen = tuple(n.strip() for n in names.split(",") if n.strip()) or tuple(default)
        if unknown := [n for n in chosen if n not in self.layers]:
            raise SettingsError(f"{self.name} has no layer {unknown[0]!r}; it has {', '.join(self.layers)}")
        return chosen


class FilterBank(nn.Module):
    """Fixed random filters over an average-pooling pyramid: one layer of features a scale, no weights needed.

    Single layers of random filters at several scales are enough for textures (Ustyuzhaninov et al. 2016); each filter
    is orthogonal to the others and, but for three that see mean colour, blind to flat colour.
    """

    def __init__(self, scales: int = 5, filters: int = 32, size: int = 5) -> None:
        super().__init__()
        self.scales = scales
        generator = torch.Generator().manual_seed(7)
        taps = size * size * 3
        weight = torch.randn(taps, filters, generator=generator).view(3, size * size, filters)
        weight[..., 3:] -= weight[..., 3:].mean(dim=1, keepdim=True)
        weight[..., :3] = torch.eye(3)[:, None, :] / size**2
        weight[..., 3:] = torch.linalg.qr(weight[..., 3:].reshape(taps, -1))[0].view(3, size * size, -1)
        bank = weight.permute(2, 0, 1).reshape(filters, 3, size, size).contiguous()
        self.register_buffer("bank", bank)
        self.pad = size // 2

    bank: Tensor

    def forward(self, image: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """As `Backbone`, without mean and variance taken off."""
        found = {}
        x = image.to(self.bank.dtype, memory_format=torch.channels_last)
        for scale in range(1, self.scales + 1):
            if scale > 1:
                x = F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False)
            if (name := f"scale{scale}") in layers:
                mode = "reflect" if min(x.shape[-2:]) > self.pad else "replicate"
                found[name] = F.relu(F.conv2d(F.pad(x, (self.pad,) * 4, mode=mode), self.bank))
                if len(found) == len(set(layers)):
                    break
        return found


@dataclass(frozen=True)
class _Recipe:
    """How a torchvision network is used: friendly layer names -> graph nodes, and the default choice."""

    nodes: dict[str, str]
    style: tuple[str, ...]
    content: tuple[str, ...]
    minimum_side: int
    halo: int = 0
    stride: int = 16


def _vgg(depths: Sequence[int]) -> dict[str, str]:
    nodes, position = {}, 0
    for block, depth in enumerate(depths, 1):
        for conv in range(1, depth + 1):
            nodes[f"conv{block}_{conv}"] = f"features.{position}"
            nodes[f"relu{block}_{conv}"] = f"features.{position + 1}"
            position += 2
        nodes[f"pool{block}"] = f"features.{position}"
        position += 1
    return nodes


def _numbered(names: Sequence[str], nodes: Sequence[str]) -> dict[str, str]:
    return dict(zip(names, nodes, strict=True))


_VGG_STYLE = tuple(f"conv{b}_1" for b in range(1, 6))
_FIRES = ("relu1", *(f"fire{n}" for n in range(2, 10)))
_RECIPES: dict[str, _Recipe] = {
    "vgg19": _Recipe(_vgg((2, 2, 4, 4, 4)), _VGG_STYLE, ("conv4_2",), 32, 160, 32),
    "vgg16": _Recipe(_vgg((2, 2, 3, 3, 3)), _VGG_STYLE, ("conv4_2",), 32, 160, 32),
    "alexnet": _Recipe(
        _numbered([f"relu{n}" for n in range(1, 6)], [f"features.{n}" for n in (1, 4, 7, 9, 11)]),
        tuple(f"relu{n}" for n in range(1, 6)),
        ("relu4",),
        63,
    ),
    "resnet50": _Recipe(
        _numbered([f"stage{n}" for n in range(1, 6)], ["relu", *(f"layer{n}" for n in range(1, 5))]),
        tuple(f"stage{n}" for n in range(2, 6)),
        ("stage4",),
        32,
    ),
    "squeezenet1_0": _Recipe(
        _numbered(_FIRES, [f"features.{n}" for n in (1, 3, 4, 5, 7, 8, 9, 10, 12)]),
        ("relu1", "fire3", "fire4", "fire5", "fire8", "fire9"),
        ("fire5",),
        32,
    ),
    "inception_v3": _Recipe(
        _numbered(
            ("stem1", "stem2", "stem3", "mixed5", "mixed6", "mixed7"),
            (
                "Conv2d_1a_3x3.relu",
                "Conv2d_2b_3x3.relu",
                "Conv2d_4a_3x3.relu",
                "Mixed_5d.cat",
                "Mixed_6e.cat",
                "Mixed_7c.cat_2",
            ),
        ),
        ("stem1", "stem2", "stem3", "mixed5", "mixed6"),
        ("mixed5",),
        75,
    ),
    "efficientnet_b0": _Recipe(
        _numbered([f"stage{n}" for n in range(1, 9)], [f"features.{n}" for n in range(8)]),
        ("stage1", "stage2", "stage3", "stage4", "stage6"),
        ("stage4",),
        32,
    ),
}


def load_backbone(
    name: str, *, device: str = "cpu", weights: Path | None = None, pooling: str = "avg", random: bool = False,
    precision: str = "float32",
) -> Backbone:  # fmt: skip
    """A frozen backbone by name.

    weights: a .safetensors or .pth instead of the usual place. pooling: "avg" replaces max pooling, "max" leaves the
    network as published. random: no weights, for tests and timing. precision: "float32", "bfloat16", or "auto", which
    is bfloat16 where the device is quick at it; features come in it. Raises WeightsError with what to do.
    """
    half = precision == "bfloat16" or (precision == "auto" and bfloat16_is_quick(device))
    return _load(name, device, weights, pooling, random, torch.bfloat16 if half else torch.float32)


@lru_cache(maxsize=4)
def _load(
    name: str, device: str, weights: Path | None, pooling: str, random: bool, kind: torch.dtype
) -> Backbone:  # fmt: skip
    network: nn.Module
    if name == "filters":
        network = FilterBank()
        names = tuple(f"scale{n}" for n in range(1, 6))
        return Backbone(name, names, names, ("scale3",), 1, _frozen(network, device, kind), 48)
    if name == "compact":
        network = CompactEncoder()
        if not random:
            _fill(network, load_file(weights) if weights else load_shipped("compact"), str(weights or name))
        style = ("relu2_1", "relu3_3", "relu4_1", MIXED, "relu5_1")
        return Backbone(
            name, layer_names(), style, ("relu4_1",), 1, _frozen(network, device, kind), 96,
            spare=partial(network, spare=True),
        )  # fmt: skip
    if name not in _RECIPES:
        raise SettingsError(f"unknown backbone {name!r}; known: compact, filters, {', '.join(_RECIPES)}")
    recipe = _RECIPES[name]
    network = _torchvision(name, weights, random)
    _set_pooling(network, pooling)
    extracts = [_extract(network, recipe, device, kind, spare) for spare in (False, True)]
    names, side = tuple(recipe.nodes), recipe.minimum_side
    return Backbone(
        name, names, recipe.style, recipe.content, side, extracts[0], recipe.halo, recipe.stride, extracts[1]
    )


def _extract(network: nn.Module, recipe: _Recipe, device: str, kind: torch.dtype, spare: bool) -> Extract:
    made: dict[tuple[str, ...], Any] = {}

    def extract(image: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        from torchvision.models.feature_extraction import create_feature_extractor

        key = tuple(sorted(set(layers)))
        if key not in made:
            # The graph ends at the deepest wanted node: what lies behind it is never computed.
            nodes = {recipe.nodes[layer]: layer for layer in key}
            graph = create_feature_extractor(network, nodes, suppress_diff_warning=True)
            made[key] = _frozen(graph, device, kind)
            if spare:
                made[key] = recomputing(graph, image.new_zeros(1, 3, *(2 * [2 * recipe.minimum_side])).to(kind))
        return dict(made[key](normalised(image, kind)))

    return extract


def _frozen(network: nn.Module, device: str, kind: torch.dtype) -> Any:
    ready: Any = network.eval().requires_grad_(False)
    return ready.to(device, dtype=kind, memory_format=torch.channels_last)


def _fill(network: nn.Module, tensors: dict[str, Tensor], source: str) -> None:
    try:
        network.load_state_dict({key: value.float() for key, value in tensors.items()})
    except RuntimeError as error:
        raise WeightsError(f"{source}: the weights do not fit the network ({str(error).splitlines()[0]})") from None


def _torchvision(name: str, weights: Path | None, random: bool) -> nn.Module:
    import torchvision.models as models

    options = {"init_weights": True, "aux_logits": True} if name == "inception_v3" else {}
    if random:
        torch.manual_seed(0)
    network: nn.Module = models.get_model(name, weights=None, **options)
    if not random:
        path = weights or cached_path(name)
        if path is None:
            raise WeightsError(
                f"the weights of {name} are not on this machine; when online, "
                f"`python -m sketchcolor models fetch {name}` gets them; offline, use --backbone compact or filters"
            )
        _fill(network, load_file(path), str(path))
    for head in ("classifier", "fc"):  # never asked: half a gigabyte in a VGG
        if hasattr(network, head):
            setattr(network, head, nn.Identity())
    for module in network.modules():
        if hasattr(module, "inplace"):
            setattr(module, "inplace", False)  # noqa: B010
    return network.eval()


def _set_pooling(network: nn.Module, pooling: str) -> None:
    if pooling not in ("avg", "max"):
        raise SettingsError(f"pooling must be avg or max, not {pooling!r}")
    if pooling == "max":
        return
    for parent in list(network.modules()):
        for child_name, child in list(parent.named_children()):
            if isinstance(child, nn.MaxPool2d):
                average = nn.AvgPool2d(
                    child.kernel_size, child.stride, child.padding, child.ceil_mode, count_include_pad=False
                )
                setattr(parent, child_name, average)
