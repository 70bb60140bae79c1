"""Encoders as folders of sentence-transformers: a transformer, weights of its tokens, a pooling, a normalisation.

The layout is the one that its documentation gives: ``modules.json`` lists the modules and their folders.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import normalize

from unmask.api import Export
from unmask_text.encoders import TransformersEncoder
from unmask_text.encoders.dense import LENGTHS, made_up, padded_documents
from unmask_text.exchange.tokenizer_files import vocabulary_of
from unmask_text.exchange.transformers_format import Transformers, encoder_of, quiet
from unmask_text.vocabulary import Vocabulary

POOLS = {"mean": "pooling_mode_mean_tokens", "cls": "pooling_mode_cls_token"}
"""Poolings of both libraries, by what sentence-transformers calls them."""
UNUSED = ("pooling_mode_max_tokens", "pooling_mode_mean_sqrt_len_tokens", "pooling_mode_weightedmean_tokens")
TOLERANCE = 1e-5
"""Largest difference from our vectors of length 1; seen are some 1e-7."""


class SentenceTransformers(Transformers):
    """A folder for ``SentenceTransformer``: documents to vectors of length 1, pooled as `unmask embed` does.

    The mean leaves class token and separator out, by token weights of 0. ``--pool cls`` takes the class token's code.
    """

    def save(self, export: Export, out: Path) -> str:
        pool = export.pool
        if pool not in POOLS:
            given = "`--codes` is given" if pool is None else f"is {pool!r}"
            raise ValueError(f"`--pool` must be 'mean' or 'cls' for sentence-transformers, but {given}.")
        checked = super().save(export, out)
        encoder, known = encoder_of(export.model), vocabulary_of(export)
        _write(out, encoder, known, pool)
        difference = _difference(out, encoder, len(known), pool)
        if not difference <= TOLERANCE:
            raise ValueError(f"The folder must give the encoder's vectors, but differs by {difference:.2g}.")
        return f"{checked} Pooled: vectors of length 1 within {difference:.2g} of the encoder's."

    def usage(self, export: Export, out: Path) -> str:
        return (
            "from sentence_transformers import SentenceTransformer\n\n"
            f"vectors = SentenceTransformer({str(out)!r}).encode(texts)  # of length 1"
        )


def _write(out: Path, encoder: TransformersEncoder, known: Vocabulary, pool: str) -> None:
    """The files that sentence-transformers reads beside those of transformers."""
    special = [known.tokenizer.id_to_token(id) for id in (encoder.cls_id, encoder.sep_id)]
    names = ["Transformer", *(["WordWeights"] if pool == "mean" else []), "Pooling", "Normalize"]
    modules = []
    for number, name in enumerate(names):
        folder = "" if number == 0 else f"{number}_{name}"
        (out / folder).mkdir(exist_ok=True)
        modules.append(
            {"idx": number, "name": str(number), "path": folder, "type": f"sentence_transformers.models.{name}"}
        )
        if name == "WordWeights":
            vocab = [known.tokenizer.id_to_token(id) or f"#{id}" for id in range(len(known))]
            weights = dict.fromkeys(special, 0.0)
            _json(out / folder / "config.json", {"vocab": vocab, "word_weights": weights, "unknown_word_weight": 1.0})
            table = torch.ones(len(vocab), 1).index_fill(0, torch.tensor([encoder.cls_id, encoder.sep_id]), 0.0)
            save_file({"emb_layer.weight": table}, out / folder / "model.safetensors", {"format": "pt"})
        elif name == "Pooling":
            chosen = {"word_embedding_dimension": encoder.width, **{mode: key == pool for key, mode in POOLS.items()}}
            _json(out / folder / "config.json", chosen | dict.fromkeys(UNUSED, False) | {"include_prompt": True})
        elif name == "Normalize":
            _json(out / folder / "config.json", {})
    _json(out / "modules.json", modules)
    length = encoder.max_length
    _json(out / "sentence_bert_config.json", {"max_seq_length": length, "do_lower_case": False})
    about: dict[str, Any] = {"prompts": {}, "default_prompt_name": None, "similarity_fn_name": "cosine"}
    _json(out / "config_sentence_transformers.json", about)


@torch.no_grad()
def _difference(out: Path, encoder: TransformersEncoder, num_ids: int, pool: str) -> float:
    """Largest between vectors of documents of several lengths, computed as the written modules say, and ours."""
    from transformers import AutoModel

    tokens = made_up(encoder, LENGTHS, num_ids)
    batch = padded_documents(encoder, tokens)
    with quiet():
        model = AutoModel.from_pretrained(out).eval()
    codes = model(input_ids=batch["ids"], attention_mask=batch["attention_mask"]).last_hidden_state  # [B, N, D]
    if pool == "mean":
        table = load_file(out / "1_WordWeights" / "model.safetensors")["emb_layer.weight"]
        weight = table[batch["ids"]] * batch["attention_mask"][..., None]  # [B, N, 1]
        pooled = (codes * weight).sum(1) / weight.sum(1)
    else:
        pooled = codes[:, 0]
    expected = normalize(encoder(tokens).pool(pool, tokens), dim=1)
    return (normalize(pooled, dim=1) - expected).abs().max().item()


def _json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")
