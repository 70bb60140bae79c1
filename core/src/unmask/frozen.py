"""Frozen modules: weights that a config names are left out of checkpoints, and are compared when one is loaded."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class Frozen(nn.Module):
    """A module that is never trained, always in evaluation mode, and made again from the config.

    A checkpoint has a fingerprint of its weights in their place: a run that is continued, or read by a tool, must find
    the same weights again.

    Args:
        module: with its weights; its parameters get no gradient.

    Raises:
        RuntimeError: when a checkpoint is loaded that was trained with other weights.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module.requires_grad_(False).eval()
        self._prefix = ""
        self.register_load_state_dict_post_hook(_lacks_nothing)

    def train(self, mode: bool = True) -> Frozen:
        return super().train(False)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        with torch.no_grad():
            return self.module(*args, **kwargs)

    def fingerprint(self) -> Tensor:
        """16 bytes that tell these weights from others, as uint8."""
        digest = hashlib.blake2b(digest_size=16)
        for name, tensor in self.module.state_dict().items():
            data = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
            digest.update(name.encode() + data.numpy().tobytes())
        return torch.frombuffer(bytearray(digest.digest()), dtype=torch.uint8)

    def state_dict(self, *args: Any, destination: Any = None, prefix: str = "", keep_vars: bool = False) -> Any:
        """The fingerprint alone."""
        destination = {} if destination is None else destination
        destination[f"{prefix}fingerprint"] = self.fingerprint()
        return destination

    def _load_from_state_dict(
        self,
        state_dict: Mapping[str, Any],
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        self._prefix = prefix
        key = f"{prefix}fingerprint"
        if key not in state_dict:
            missing_keys.append(key)
        elif not torch.equal(state_dict[key].cpu(), self.fingerprint()):
            error_msgs.append(
                f"`{prefix.rstrip('.')}` must have the weights that the checkpoint was trained with, but has others; "
                "nearest: name the same file or run in the config."
            )


def _lacks_nothing(frozen: Frozen, keys: Any) -> None:
    """Weights that no checkpoint has are not missing from one."""
    keys.missing_keys[:] = [key for key in keys.missing_keys if not key.startswith(f"{frozen._prefix}module.")]
