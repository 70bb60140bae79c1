"""Any encoder of transformers, run on packed documents: BERT, RoBERTa, ModernBERT, ELECTRA, DeBERTa-v3 and others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from unmask import Encoder, Latent, Mask, Tokens
from unmask.api import Program
from unmask_text.corruption import shown_ids
from unmask_text.encoders.attention import PACKED
from unmask_text.encoders.dense import program_of
from unmask_text.encoders.loading import fresh, loaded, special_ids
from unmask_text.encoders.packing import Packing, packed, padded

DEFAULT_IDS = {"cls": 2, "sep": 3, "mask": 4}
"""Of tokenizers that this package trains: [PAD], [UNK], [CLS], [SEP], [MASK] come first."""


class TransformersEncoder(Encoder):
    """One code per token; each document is read between a class and a separator token of its own.

    Hidden tokens are replaced by ids, before the embedding, or left out; those left out keep their
    positions. Nothing is padded: documents lie in one row and attend within themselves. Models that do
    not read attention through transformers' interface (DeBERTa) are given padded documents instead.

    Args:
        config: settings of transformers, such as ``{"model_type": "bert", "hidden_size": 256}``, for a model
            with fresh weights; exactly one of it and ``path`` is given.
        path: a folder of transformers' (or a name of its hub), with weights.
        cls_id: id of the class token (<s>); None: of the tokenizer at ``path``, or 2.
        sep_id: id of the separator (</s>); None: likewise, or 3.
        mask_id: id of [MASK]; None: likewise, or 4.
        options: settings that replace those at ``path``, such as ``{"hidden_dropout_prob": 0}``.

    ``source`` says where the weights, and so the meaning of ids, come from: ``path``, or None for fresh ones.

    The latent's prefix holds the codes of the class token and of the separator ``[B, 2, D]``.

    Raises:
        ValueError: settings that are incomplete, ids outside the vocabulary; in `forward`, documents longer than
            the position table, a layer out of range, or dropped tokens where the model has no positions to
            give to the others.
    """

    model: PreTrainedModel

    def __init__(
        self,
        config: Mapping[str, Any] | None = None,
        path: str | None = None,
        cls_id: int | None = None,
        sep_id: int | None = None,
        mask_id: int | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if (config is None) == (path is None):
            raise ValueError(f"Exactly one of `config` and `path` must be given, but they are {config} and {path!r}.")
        self.model = loaded(path, dict(options or {})) if path else fresh({**(config or {}), **(options or {})})
        settings = self.model.config
        ids = special_ids(path, {"cls": cls_id, "sep": sep_id, "mask": mask_id}, DEFAULT_IDS, settings.vocab_size)
        for name, value in ids.items():
            if not 0 <= value < settings.vocab_size:
                raise ValueError(f"`{name}_id` must be in [0, {settings.vocab_size}), but is {value}.")
        self.cls_id, self.sep_id, self.mask_id = ids.values()
        self.source = path
        self.unused: dict[str, tuple[Any, Any]] = {}  # sizes given beside weights, and the weights' own
        self.width: int = settings.hidden_size
        self.num_layers: int = settings.num_hidden_layers
        self.reads_rows: bool = settings._attn_implementation == PACKED

    def forward(self, tokens: Tokens, mask: Mask | None = None, layer: int | None = None) -> Latent:
        flat, flat_mask = packed(tokens, mask)
        offsets = flat.offsets
        assert offsets is not None
        lengths, ids = offsets.diff(), flat.values  # [B], [T]
        place = torch.arange(len(ids), device=ids.device) - offsets[:-1].repeat_interleave(lengths)

        # Hidden ids are replaced or left out: what follows has never seen them.
        seen, counts, shape, real = None, lengths, flat.values.shape, None
        if flat_mask is not None and flat_mask.show is not None:
            ids = shown_ids(ids, flat_mask, offsets, self.mask_id)
        elif flat_mask is not None and mask is not None:
            seen, kept = mask.visible, flat_mask.visible.index  # [K]
            ids, place = ids[kept], place[kept]
            counts = torch.nn.functional.pad((~flat_mask.hidden).long().cumsum(0), (1, 0))[offsets].diff()

        values, prefix = self.read(ids, place, counts, lengths, self.cls_id, self.sep_id, layer)
        if tokens.offsets is None:
            shape, real = (tokens.values.shape[:2], tokens.valid) if seen is None else (seen.index.shape, seen.valid)
            values = padded(values, shape, real)
        return Latent(values, seen, prefix)

    def read(
        self,
        values: Tensor,
        place: Tensor,
        counts: Tensor,
        lengths: Tensor,
        cls: Tensor | int,
        sep: Tensor | int,
        layer: int | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Codes of packed documents.

        Args:
            values: ``[K]`` ids, or ``[K, D]`` embeddings for the model to start from.
            place: ``[K]`` where each lies in its document.
            counts: ``[B]`` how many of them belong to each document.
            lengths: ``[B]`` how long the documents are, left-out tokens included.
            cls: the class tokens, one for all or one for each document.
            sep: the separators, likewise.
            layer: as in `forward`.

        Returns:
            ``[K, D]``, and those of class tokens and separators ``[B, 2, D]``.
        """
        num_layers = self.depth(layer)
        packing = Packing.of(counts)
        # Class tokens stand at position 0, tokens where they stood, separators after the last of all tokens.
        row = packing.lay(values, cls, sep)  # [R]
        position = packing.lay(place + 1, 0, lengths + 1) + self._first_position(int(lengths.max()) + 2)
        codes = self._run(row, position, packing, None if layer is None else num_layers)  # [R, D]
        return codes.index_select(0, packing.rows), torch.stack([codes[packing.first], codes[packing.last]], dim=1)

    def program(self, tokens: Tokens, pool: str | None) -> Program:
        """From padded ids with their special tokens to codes: see `DenseEncoder`."""
        return program_of(self, packed(tokens)[0], pool)

    @property
    def embedding(self) -> nn.Parameter:
        """The table of token embeddings, ``[V, E]``, which heads share."""
        return self.model.get_input_embeddings().weight  # type: ignore[return-value]

    @property
    def max_length(self) -> int | None:
        """Tokens of the longest document that the model is made for, its two special tokens included; None: any."""
        table = self._positions
        if table is not None:
            return table.num_embeddings - self._start(table)
        length = getattr(self.model.config, "max_position_embeddings", None)
        return length if isinstance(length, int) and length > 0 else None

    @property
    def _positions(self) -> nn.Embedding | None:
        """The table of positions; None: they are rotations, distances or none."""
        table = getattr(getattr(self.model, "embeddings", None), "position_embeddings", None)
        return table if isinstance(table, nn.Embedding) else None

    @staticmethod
    def _start(table: nn.Embedding) -> int:
        return 0 if table.padding_idx is None else table.padding_idx + 1  # RoBERTa's begin behind padding

    def _first_position(self, length: int) -> int:
        """The position id of a document's first token, for documents of ``length`` with their special tokens."""
        table = self._positions
        if table is None:
            return 0
        start = self._start(table)
        room = table.num_embeddings - start
        if length > room:
            raise ValueError(
                f"Documents must have at most {room - 2} tokens (`max_position_embeddings` less special tokens), "
                f"but one has {length - 2}."
            )
        return start

    def _run(self, row: Tensor, position: Tensor, packing: Packing, layer: int | None) -> Tensor:
        """Codes of all tokens of a row ``[R, D]``: of ``layer``, or of the last one, normed."""
        if self.reads_rows:
            kind = "inputs_embeds" if row.is_floating_point() else "input_ids"
            return self._codes({kind: row[None], "position_ids": position[None], "packing": packing}, layer)[0]
        places, real = packing.rectangle()  # [B, L]
        if not torch.equal(position[packing.last] - position[packing.first], packing.last - packing.first):
            raise ValueError(
                f"`drop` of the corruption must be 0 for {type(self.model).__name__}, which measures "
                "distances in the padded document, but is 1."
            )
        pad = self.model.config.pad_token_id or 0
        read = {"input_ids": row[places].masked_fill(~real, pad), "attention_mask": real.long()}
        codes = self._codes(read, layer)  # [B, L, D]
        return codes.new_empty(len(row), codes.shape[-1]).index_copy(0, places[real], codes[real])

    def _codes(self, read: dict[str, Any], layer: int | None) -> Tensor:
        if layer is None:
            return self.model(**read).last_hidden_state
        # Layers above need not run: the one that is asked for ends the forward pass.
        hook = _layers(self.model)[layer - 1].register_forward_hook(_stop)
        try:
            self.model(**read)
        except _Reached as reached:
            return reached.codes
        finally:
            hook.remove()
        raise AssertionError("a layer of the model did not run")


class _Reached(Exception):  # noqa: N818
    """Carries a layer's codes out of a forward pass."""

    def __init__(self, codes: Tensor) -> None:
        self.codes = codes


def _stop(module: nn.Module, arguments: Any, output: Any) -> None:
    raise _Reached(output[0] if isinstance(output, tuple) else output)


def _layers(model: PreTrainedModel) -> nn.ModuleList:
    """The list of the model's layers."""
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == model.config.num_hidden_layers:
            return module
    raise ValueError(f"`layer` must be None for {type(model).__name__}, whose layers share weights.")
