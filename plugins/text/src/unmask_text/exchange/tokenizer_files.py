"""The tokenizer of an exported encoder: its vocabulary, and the special tokens that the encoder puts around it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing

from unmask.api import Export
from unmask_text.encoders import TransformersEncoder
from unmask_text.vocabulary import Vocabulary, vocabulary

CONFIG = "tokenizer_config.json"
CLASS = "PreTrainedTokenizerFast"
"""The class that transformers 4 and 5 both know."""
TEXTS = ("The quick brown fox, in 1984: didn't it jump?", "Äpfel 苹果 \n\t 3.14", "a")


def vocabulary_of(export: Export) -> Vocabulary:
    """The vocabulary that a model was trained with.

    Raises:
        ValueError: its file is gone or has changed, and the run's data has another.
    """
    from unmask_text.agreements import KEY

    model: Any = export.model
    kept = model.agreed.get(KEY)
    files = [getattr(model.tokenizer, "file", None), kept and kept["file"]]
    for file in files:
        if file is not None and Path(file).is_file() and _is(vocabulary(file), kept):
            return vocabulary(file)
    file = export.batch().get("tokenizer")
    if file is not None and _is(vocabulary(file), kept):
        return vocabulary(file)
    where = f", {kept['file']}, is gone" if kept is not None else " is not known"
    raise ValueError(
        f"The vocabulary that the model was trained with{where}; give it by `--data`, a YAML file whose "
        "`data.tokenizer` names it."
    )


def save_tokenizer_of(encoder: TransformersEncoder, known: Vocabulary, out: Path) -> None:
    """Writes ``tokenizer.json`` and its config: a document between class token and separator, padded on the right."""
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer.from_file(known.path)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    cls, sep = (_token(tokenizer, id) for id in (encoder.cls_id, encoder.sep_id))
    settings = encoder.model.config
    typed = (getattr(settings, "type_vocab_size", 0) or 0) > 1
    second = ":1" if typed else ""
    tokenizer.post_processor = TemplateProcessing(
        single=f"{cls} $A {sep}",
        pair=f"{cls} $A {sep} $B{second} {sep}{second}",
        special_tokens=[(cls, encoder.cls_id), (sep, encoder.sep_id)],
    )
    special = {"mask_token": encoder.mask_id, "pad_token": settings.pad_token_id, "unk_token": known.unknown_id}
    named = {name: tokenizer.id_to_token(id) for name, id in special.items() if id is not None}
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        cls_token=cls,
        sep_token=sep,
        model_input_names=["input_ids", *(["token_type_ids"] if typed else []), "attention_mask"],
        clean_up_tokenization_spaces=False,
        **{name: token for name, token in named.items() if token is not None},
        **({"model_max_length": encoder.max_length} if encoder.max_length else {}),
    )
    fast.save_pretrained(out)
    config = json.loads((out / CONFIG).read_text("utf-8"))
    (out / CONFIG).write_text(json.dumps(config | {"tokenizer_class": CLASS}, indent=2, ensure_ascii=False) + "\n")


def check_tokenizer(encoder: TransformersEncoder, known: Vocabulary, out: Path) -> str:
    """Compares what `AutoTokenizer` reads in a folder with what the encoder is given here.

    Raises:
        ValueError: they differ.
    """
    from transformers import AutoTokenizer

    read = AutoTokenizer.from_pretrained(out, local_files_only=True, trust_remote_code=False)
    ordinary = [token for id in range(len(known)) if (token := known.ordinary(id)) is not None]
    for text in (*TEXTS, " ".join(ordinary[:: max(len(ordinary) // 20, 1)])):
        own = known.tokenizer.encode(text, add_special_tokens=False).ids
        got = read(text, truncation=False, verbose=False)["input_ids"]
        if got != [encoder.cls_id, *own, encoder.sep_id]:
            raise ValueError(f"AutoTokenizer must give the ids that the encoder was trained with, but not of {text!r}.")
    return "AutoTokenizer: the same ids."


def _is(found: Vocabulary, kept: dict[str, str] | None) -> bool:
    return kept is None or found.meaning == kept["meaning"]


def _token(tokenizer: Tokenizer, id: int) -> str:
    token = tokenizer.id_to_token(id)
    if token is None:
        raise ValueError(f"The vocabulary must have the encoder's special tokens, but has no token {id}.")
    return token
