"""Networks that make maps of features, mostly convolutional ones, as encoders: timm's, torchvision's, or your own."""

from __future__ import annotations

import inspect
import math
import re
from abc import abstractmethod
from typing import Any

import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

from unmask import FILLED, Encoder, Latent, Mask, Tokens
from unmask.api import at_least, nearest
from unmask_vision.encoders.added_token import AddedToken
from unmask_vision.encoders.patches import replace_hidden
from unmask_vision.encoders.positions import grid_of
from unmask_vision.encoders.sparse import Sparse


class MapEncoder(Encoder):
    """An image is put together from its patches, and a network makes maps ``[B, C, rows, columns]`` of it.

    Hidden patches are either left out, by sparse convolution (`Sparse`: for networks of convolutions, with patches as
    large as the network's stride), or shown as stand-ins of pixels: a learned colour, or another patch (any network).
    Codes are the cells of the last map, so they are coarser than patches that are smaller than the stride; `Latent`
    has the maps of several scales beside them. Images may be of any size that is a multiple of the patch.

    Args:
        net: the network.
        channels: colour channels of the images.
        mask_token: whether hidden patches may be shown as a learned colour.
        side: of an image that the network takes, in pixels, by which widths and strides are found.

    Raises:
        ValueError: patches of other channels; hidden patches that are to be left out of a network that is more than
            convolutions, or that are of another size than the stride.
    """

    def __init__(self, net: nn.Module, channels: int, mask_token: bool, side: tuple[int, int]) -> None:
        super().__init__()
        at_least(1, channels=channels)
        self.net = net
        self.channels = channels
        self.sparse = Sparse(net)
        was_training = net.training
        net.eval()  # batches count in statistics, and this is none
        with torch.no_grad():
            maps = self.features(torch.zeros(1, channels, *side))
        net.train(was_training)
        self.widths: list[int] = [one.shape[1] for one in maps]
        """C of each map, the finest first."""
        self.strides: list[int] = [round(side[0] / one.shape[2]) for one in maps]
        """Pixels per cell of each map, on a side."""
        self.width, self.stride = self.widths[-1], self.strides[-1]
        self.num_layers = len(maps)
        self.grid = side[0] // self.stride, side[1] // self.stride
        self.added: AddedToken | None = None
        self.mask_token = nn.Parameter(torch.zeros(channels)) if mask_token else None

    @property
    def has_batch_norm(self) -> bool:
        """Whether the network norms over batches."""
        return any(isinstance(one, _BatchNorm) for one in self.net.modules())

    @abstractmethod
    def features(self, image: Tensor) -> list[Tensor]:
        """Maps ``[B, C, rows, columns]`` of images, the finest first, one for each scale; the last is that of codes."""

    def forward(self, tokens: Tokens, mask: Mask | None = None, layer: int | None = None) -> Latent:
        number = self.depth(layer) - 1
        grid, values = grid_of(tokens), tokens.values
        patch = self.patch_size_of(values)
        seen = None
        if mask is not None and mask.show is not None:
            token = None if self.mask_token is None else self.mask_token.repeat(patch**2)  # [V]
            values = replace_hidden(values, mask, token)
        elif mask is not None:
            self._check_sparse(patch)
            seen = ~mask.hidden.view(-1, *grid)
            values = values.masked_fill(mask.hidden[..., None], 0)
        image = self._put_together(values, grid, patch)

        self.sparse.show(seen)
        if self.added is not None:
            filled = mask is not None and mask.show is not None
            self.added.hidden = (mask.hidden & (mask.show == FILLED)).view(-1, *grid) if filled else None  # type: ignore[union-attr]
        maps = self.features(image)
        if seen is not None:
            maps = [self.sparse.zeroed(one) for one in maps]
        codes = maps[number].flatten(2).transpose(1, 2)  # [B, N, D]
        if seen is None or mask is None or codes.shape[1] != values.shape[1]:
            return Latent(codes, pyramid=maps)
        return Latent(mask.visible.gather(codes), mask.visible, pyramid=maps)

    def image_of(self, tokens: Tokens) -> Tensor:
        """The images that are put together from all patches, as the network is given them."""
        return self._put_together(tokens.values, grid_of(tokens), self.patch_size_of(tokens.values))

    def _put_together(self, values: Tensor, grid: tuple[int, int], patch: int) -> Tensor:
        cells = values.reshape(-1, *grid, patch, patch, self.channels)
        return cells.permute(0, 5, 1, 3, 2, 4).reshape(-1, self.channels, grid[0] * patch, grid[1] * patch)

    def patch_size_of(self, values: Tensor) -> int:
        """The side in pixels of square patches with these values."""
        patch = math.isqrt(values.shape[-1] // self.channels)
        if patch**2 * self.channels != values.shape[-1]:
            raise ValueError(
                f"A token must have patch_size^2 x {self.channels} values, as `channels` of the encoder says, but has "
                f"{values.shape[-1]}."
            )
        return patch

    def _check_sparse(self, patch: int) -> None:
        self.sparse.check(type(self.net).__name__)
        if patch != self.stride:
            raise ValueError(
                f"`patch_size` must be {self.stride}, the stride of {type(self.net).__name__}, for a corruption that "
                f"drops hidden patches, but is {patch}."
            )


class CNNEncoder(MapEncoder):
    """Any timm model that makes maps of features, without its head; ``net`` is timm's own module.

    ResNet, ConvNeXt (also V2), EfficientNet, RegNet, MobileNet, DenseNet ...: these are sparse where hidden patches are
    dropped. Hierarchical transformers (Swin, Hiera, MaxViT ...) need a corruption that shows all patches.
    ``net.state_dict()`` loads strictly into the timm model of the same name and options (``num_classes=0``); codes are
    its ``forward_features``.

    Args:
        name: of timm's model.
        image_size: of the images in pixels, for models that are made for one size: the side of squares, or (height,
            width); None: the model's own, or any size.
        channels: colour channels of the images.
        levels: how many maps there are, at least 1, the coarsest ones of the model. SparK has four.
        stride: of the codes in pixels: the model is cut off after its maps of this stride; None: all of it.
        mask_token: whether hidden patches may be shown as a learned colour.
        pretrained: load timm's pretrained weights, by its own mechanism.
        drop_path_ratio: stochastic depth, in [0, 1), for models that have it.
        options: further arguments of `timm.create_model`, such as ``depths``.
        added_token: stride in pixels of the map to which a learned vector is added, where patches are hidden that have
            other values, before the model goes on (A2MIM: 16 of ResNet-50, after its third stage); None: none is.

    Raises:
        ValueError: a name that timm does not have, a model that makes no maps, options that it does not take, or no map
            of a stride.
    """

    def __init__(
        self,
        name: str = "resnet50",
        image_size: int | tuple[int, int] | None = None,
        channels: int = 3,
        levels: int = 4,
        stride: int | None = None,
        mask_token: bool = False,
        pretrained: bool = False,
        drop_path_ratio: float = 0.0,
        options: dict[str, Any] | None = None,
        added_token: int | None = None,
    ) -> None:
        at_least(1, levels=levels)
        given = dict(options or {})
        if drop_path_ratio:
            given["drop_path_rate"] = drop_path_ratio
        net = _created(name, pretrained, channels, image_size, given)
        self._levels = levels
        given.pop("drop_path_rate", None)
        size = {} if image_size is None or not _has_size(net) else {"img_size": image_size}
        own = image_size or (net.pretrained_cfg.get("input_size", (3, 64, 64))[1:] if _has_size(net) else 64)
        side = (own, own) if isinstance(own, int) else (own[0], own[1])
        if stride is not None:
            _cut(net, stride, torch.zeros(1, channels, *side))
        super().__init__(net, channels, mask_token, side)
        self.timm_model = name.split(".")[0], {"in_chans": channels, **size, **given}  # makes its like
        self.added = None if added_token is None else AddedToken.to_map(net, added_token)
        self.whole = stride is None
        """Whether nothing was cut off."""
        head = getattr(net, "head", None)
        if isinstance(head, nn.Module):  # its pooling and norm, which pretraining does not use
            head.requires_grad_(False)

    def features(self, image: Tensor) -> list[Tensor]:
        net: Any = self.net
        last, maps = net.forward_intermediates(image)
        coarse = maps[-1].shape[2:]
        last = self.as_codes(last)[:, -coarse.numel() :].transpose(1, 2).unflatten(2, coarse)
        scales = {one.shape[2:]: one for one in [*maps, last]}  # of several of one size, the last
        return list(scales.values())[-self._levels :]

    def as_codes(self, features: Tensor) -> Tensor:
        """What timm's ``forward_features`` gives, as codes ``[B, N, D]``."""
        if features.ndim == 3:  # tokens, those of a class first
            return features
        last = getattr(self.net, "output_fmt", "NCHW") == "NHWC"
        return features.flatten(1, 2) if last else features.flatten(2).transpose(1, 2)


class ModuleEncoder(MapEncoder):
    """A network of your own, or one of torchvision: any module that makes a map, or several, of an image.

    Args:
        module: called with images ``[B, C, H, W]``, returns ``[B, D, rows, columns]``, or a list or dict of such maps,
            the finest first; or the name of one of torchvision's models, without weights.
        channels: colour channels of the images.
        image_size: the side of an image that it takes, in pixels, or (height, width).
        nodes: of a torchvision model, the nodes whose outputs are maps, the finest first; None: the last map.
        mask_token: whether hidden patches may be shown as a learned colour.

    Raises:
        ValueError: a name that torchvision does not have, nodes that the model does not have, or outputs that are no
            maps.
    """

    def __init__(
        self,
        module: nn.Module | str,
        channels: int = 3,
        image_size: int | tuple[int, int] = 64,
        nodes: list[str] | None = None,
        mask_token: bool = False,
    ) -> None:
        net = _of_torchvision(module, channels, nodes) if isinstance(module, str) else module
        side = (image_size, image_size) if isinstance(image_size, int) else image_size
        super().__init__(net, channels, mask_token, side)

    def features(self, image: Tensor) -> list[Tensor]:
        out: Any = self.net(image)
        maps = list(out.values()) if isinstance(out, dict) else [out] if isinstance(out, Tensor) else list(out)
        for one in maps:
            if getattr(one, "ndim", 0) != 4:
                raise ValueError(
                    "`module` must return maps [B, D, rows, columns], but returns "
                    f"{list(one.shape) if isinstance(one, Tensor) else type(one).__name__}."
                )
        return maps


def _has_size(net: Any) -> bool:
    """Whether a model of timm is made for one size of images."""
    return "img_size" in inspect.signature(type(net).__init__).parameters or "img_size" in _arguments(net)


def _arguments(net: Any) -> set[str]:
    return set() if not hasattr(net, "patch_embed") else {"img_size"} & set(vars(net.patch_embed))


def _created(name: str, pretrained: bool, channels: int, image_size: Any, options: dict[str, Any]) -> Any:
    """A timm model that makes maps, or a plain error."""
    known = timm.list_models()
    if name.split(".")[0] not in known:
        near = ", ".join(nearest(name, known)) or "resnet50"
        raise ValueError(f"`name` must be a model of timm, but is {name!r}; nearest: {near}.")
    size = {} if image_size is None else {"img_size": image_size}
    try:
        try:
            net: Any = timm.create_model(name, pretrained, in_chans=channels, num_classes=0, **size, **options)
        except TypeError as error:
            if not size or "img_size" not in str(error):
                raise
            net = timm.create_model(name, pretrained, in_chans=channels, num_classes=0, **options)
    except TypeError as error:
        found = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        raise ValueError(f"`options` do not fit timm's {name}: {found[0] if found else error}.") from error
    if not hasattr(net, "forward_intermediates"):
        raise ValueError(f"`name` must be a model that makes maps of features, but {name!r} makes none.")
    return net


@torch.no_grad()
def _cut(net: Any, stride: int, image: Tensor) -> None:
    """Leaves out what comes after the last maps of this stride."""
    maps = net.eval().forward_intermediates(image, intermediates_only=True)
    net.train()
    strides = [round(image.shape[2] / one.shape[2]) for one in maps]
    if stride not in strides:
        raise ValueError(f"`stride` must be one of {sorted(set(strides))}, those of the model's maps, but is {stride}.")
    last = len(strides) - 1 - strides[::-1].index(stride)
    net.prune_intermediate_layers([last], prune_norm=True, prune_head=True)


def _of_torchvision(name: str, channels: int, nodes: list[str] | None) -> nn.Module:
    """A model of torchvision up to some of its nodes."""
    known = torchvision.models.list_models(torchvision.models)
    if name not in known:
        near = ", ".join(nearest(name, known)) or "resnet50"
        raise ValueError(f"`module` must be a module or a model of torchvision, but is {name!r}; nearest: {near}.")
    net = torchvision.models.get_model(name, weights=None)
    if channels != 3:
        _take_channels(net, channels)
    names = get_graph_node_names(net)[1]
    chosen = nodes or [_last_map(names)]
    for node in chosen:
        if not any(one == node or one.startswith(f"{node}.") for one in names):
            near = ", ".join(nearest(node, names)) or names[-1]
            raise ValueError(f"`nodes` must be nodes of {name}, but one is {node!r}; nearest: {near}.")
    return create_feature_extractor(net, return_nodes={one: one for one in chosen})


def _last_map(names: list[str]) -> str:
    """What a classifier averages over its cells."""
    pools = [at for at, one in enumerate(names) if re.search(r"(^|\.)(adaptive_)?avg_?pool", one) and "." not in one]
    return names[pools[-1] - 1] if pools else names[-1]


def _take_channels(net: nn.Module, channels: int) -> None:
    """Its first convolution takes so many channels."""
    for name, first in net.named_modules():
        if isinstance(first, nn.Conv2d):
            new = nn.Conv2d(
                channels, first.out_channels, first.kernel_size, first.stride, first.padding,  # type: ignore[arg-type]
                bias=first.bias is not None,
            )  # fmt: skip
            parent, _, own = name.rpartition(".")
            setattr(net.get_submodule(parent), own, new)
            return
