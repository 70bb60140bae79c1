"""`unmask.pretrain` and `unmask.load`: from data to a run, and from a run to all that a trained encoder is for.

Both are what the commands do: `pretrain` is a ``fit``, with its run folder, pictures, checks and exact resume.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch.utils.data import Dataset

from unmask.cli import fit
from unmask.cli.trainer import Trainer
from unmask.configs.building import build
from unmask.configs.errors import Parser, keys_of, message_of
from unmask.configs.guessing import Guess, guess
from unmask.data import Augmented, MaskedDataModule
from unmask.model import MaskedModel
from unmask.of_parts import ModelOfParts, of_parts
from unmask.plugins import registry
from unmask.runs.folders import holds_a_run
from unmask.runs.trained import Run, load_run
from unmask.support.arguments import name_of_parts
from unmask.support.errors import GOOD, UserError
from unmask.support.nearest import nearest, quoted
from unmask.support.yaml_files import read_yaml
from unmask.tools.exchange.exporting import Exported, export
from unmask.tools.exchange.importing import import_weights
from unmask.tools.features.samples import batches
from unmask.tools.features.vectors import vectors
from unmask.tools.finetune import Settings, finetune
from unmask.tools.hub.download import download
from unmask.tools.hub.library import SCHEME, Repository
from unmask.tools.hub.push import push
from unmask.tools.pictures.reconstruct import Reconstruction, reconstruct
from unmask.tools.probe.by_part import probe_by_part
from unmask.tools.results import Results


def pretrain(
    data: str | Path | Sequence[str | Path],
    out: str | Path | None = None,
    method: str | None = None,
    *,
    recipe: str | None = None,
    resume: bool = False,
    seed: int | None = None,
    **options: Any,
) -> Pretrained:
    """Pretrains on data as ``unmask fit`` does, and gives the trained encoder.

    Args:
        data: a folder or files of your own, whose endings tell the modality; or the name of a registered data module,
            such as ``vision.digits``.
        out: the run folder; None: ``runs/`` and the recipe's name. Nothing is overwritten: where a run lies there, a
            number is appended.
        method: a registered method, such as ``vision.mae``; None: that of the recipe.
        recipe: a recipe's name or a file, whose method, sizes and schedule count where nothing else is given; None: a
            recipe for such data, with this method where there is one.
        resume: goes on from the newest checkpoint of ``out``, where there is one.
        seed: of weights, masks, order and augmentation; None: the recipe's.
        options: arguments of the method, the data module, Lightning's trainer and ``unmask fit`` by their names, such
            as ``size="small", batch_size=64, max_steps=2000, checkpoint_every="20 minutes"``. Both method and data get
            one that both have, such as ``image_size``. A dict gives arguments of a part: ``mask={"ratio": 0.6}``, or
            another part: ``mask={"class_path": "block"}``.

    Returns:
        The run, read back from its folder, from the newest checkpoint.

    Raises:
        UserError: anything that ``unmask fit`` would refuse, or an option that nothing takes.
        RuntimeError: training ended early; the message says with which exit code.
    """
    places = [str(data)] if isinstance(data, str | Path) else [str(place) for place in data]
    found = guess(places, method, recipe)
    words = ["--config", found.recipe, *found.words, *_words(found, options)]
    words += [] if out is None else ["--out", str(out)]
    words += ["--ckpt_path", "last"] if resume else []
    words += [] if seed is None else ["--seed_everything", str(seed)]
    print(f"{found.told}.", flush=True)
    return Pretrained.of(trained(words))


def trained(words: list[str]) -> Path:
    """Runs ``unmask fit`` on a command line, and gives its run folder.

    Raises:
        RuntimeError: training ended early.
    """
    made: list[fit.Training] = []

    def kind(*args: Any, **kwargs: Any) -> fit.Training:
        made.append(fit.Training(*args, **kwargs))
        return made[-1]

    code = fit.run("fit", words, kind)
    if code != GOOD or not made:
        raise RuntimeError(f"Training ended early, with exit code {code}.")
    return made[0].folder


def load(run: str | Path, revision: str | None = None) -> Pretrained:
    """A trained run.

    One of the Hub becomes a run folder below ``runs/hub``, once for each commit; its results are written there.

    Args:
        run: a run folder, whose newest checkpoint counts, or a checkpoint in one; or ``hf://org/name``, as
            `push_to_hub` and ``unmask push`` write it.
        revision: of the Hub: a branch, tag or commit; None: the main branch.

    Raises:
        UserError: as `unmask.api.load_run`; no such repository, or one that cannot be read.
    """
    if not str(run).startswith(SCHEME):
        if revision is not None:
            raise UserError(f"`revision` is for `{SCHEME}org/name`, but the run is `{run}`.")
        return Pretrained.of(run)
    return Pretrained.from_pretrained(str(run), revision)


class Pretrained:
    """A trained run and what it is for. Made by `pretrain` or `load`.

    Args:
        run: as `unmask.api.load_run` gives it.
    """

    def __init__(self, run: Run) -> None:
        self.run = run

    @classmethod
    def of(cls, path: str | Path) -> Self:
        """Of a run folder, or a checkpoint in one."""
        return cls(load_run(path))

    @classmethod
    def from_pretrained(cls, name: str, revision: str | None = None) -> Self:
        """Of ``org/name`` in the Hub; `load` tells of arguments, run folder and errors."""
        repository = Repository.of(name, revision)
        copy = download(repository)
        folder = Path("runs", "hub", repository.name, copy.origin.rpartition("@")[2][:12])
        if not holds_a_run(folder):
            folder = import_weights(copy.folder, out=folder, origin=copy.origin).folder
        return cls.of(folder)

    def push_to_hub(
        self, name: str, *, private: bool = False, revision: str | None = None, licence: str | None = None
    ) -> str:
        """Puts the run into the repository ``org/name`` of the Hub, as ``unmask push`` does.

        Args:
            name: of the repository, which is made where there is none.
            private: whether the repository must be private; a public one that is there is refused.
            revision: a branch, which is made where there is none; None: the main one.
            licence: identifier of the weights' licence, such as ``apache-2.0``; None: the card says that there is none.

        Returns:
            The address of the commit.
        """
        return _told(push, self.run, Repository.of(name, revision), private=private, licence=licence)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.run.about[:-1]})"

    @property
    def folder(self) -> Path:
        """Where the run lies, with its pictures and results."""
        return self.run.folder

    @property
    def model(self) -> MaskedModel:
        """The trained model, in evaluation mode."""
        return self.run.model

    @property
    def data(self) -> MaskedDataModule:
        """The data that it was trained on."""
        return self.run.datamodule

    def embed(
        self,
        samples: Any = None,
        *,
        pool: str = "mean",
        layer: int | None = None,
        batch_size: int | None = None,
        device: torch.device | str = "cpu",
        parts: Sequence[str] | str | None = None,
    ) -> np.ndarray:
        """A vector for each sample ``[n, D]`` float32, with nothing hidden; pieces of one thing make one vector.

        Args:
            samples: files or a folder, read as the run's own data; a list of samples as the data yields them; a data
                set of such; or a data module, all of which is taken. None: all of the run's own data.
            pool: ``mean``, ``max``, ``mean+max``, ``cls`` or ``flat``.
            layer: whose codes, counted from 1; None: the last one's, normed.
            batch_size: samples at once, at least 1; None: as in validation.
            device: where to compute.
            parts: of joint samples, what is encoded, such as ``"image"`` or ``["image", "text"]``; None: as the method
                uses them.

        Raises:
            UserError: samples that cannot be read, a part that is not there, or that the model does not go with.
        """
        model = self._of(parts).run.model
        try:
            datamodule, sets = self._samples(samples)
            size = datamodule.val_batch_size if batch_size is None else batch_size
            rows = [
                vectors(model.embedder, _unlabelled(batches(datamodule, one, size)), pool, layer, device).values
                for one in sets
            ]
        except ValueError as error:
            raise UserError(message_of(error)) from error
        return np.concatenate(rows)

    def reconstruct(self, **settings: Any) -> Reconstruction:
        """Input, what was hidden and the prediction; arguments as of ``unmask reconstruct``: ``num_samples``,
        ``seed``, ``split``, ``device``, ``parts``. ``picture`` is an array ``[height, width, 3]`` where the modality
        has one."""
        return _told(reconstruct, self.model, self.data, **settings)

    def probe(self, data: MaskedDataModule | None = None, **settings: Any) -> Results:
        """Simple classifiers on frozen features, beside raw input and the untrained encoder.

        Args:
            data: labelled data in place of the run's own.
            settings: as of `unmask.tools.probe.probe.probe`, such as ``probes=["knn"], labels_per_class=[5]``. Of joint
                samples ``chosen`` names the parts of each choice: ``[["image"], ["image", "text"]]``.
        """
        return _told(probe_by_part, [(self.model, self.run.untrained)], data or self.data, **settings)

    def finetune(
        self,
        data: MaskedDataModule | None = None,
        *,
        scratch: bool = True,
        seeds: Sequence[int] = (0,),
        parts: Sequence[str] | str | None = None,
        **settings: Any,
    ) -> Results:
        """Trains the encoder and a head on labels, beside the same from scratch; writes into ``finetune/`` of the run.

        Args:
            data: labelled data in place of the run's own.
            scratch: whether an encoder from scratch is trained as well.
            seeds: of the trials.
            parts: of joint samples, what is encoded; None: as the method uses them.
            settings: as of `unmask.api.Settings`, such as ``epochs=20, lr=1e-3``; and ``labels_per_class``, ``groups``
                and ``device``.
        """
        config = self.folder / "config.yaml"
        own = {name: settings.pop(name) for name in ("labels_per_class", "groups", "device") if name in settings}
        model = self._of(parts).run.model
        names = model.names if isinstance(model, ModelOfParts) else None
        folder = self.folder if names is None else self.folder / f"parts{name_of_parts(names)}"
        return _told(
            finetune, data or self.data, pretrained=deepcopy(model),
            scratch=(lambda seed: of_parts(build(config, seed)[0], names)) if scratch else None,
            settings=_told(Settings, **settings), seeds=seeds, folder=folder, config=config.read_text("utf-8"),
            about=self._of(names).run.about, **own,
        )  # fmt: skip

    def export(
        self,
        format: str,
        out: str | Path | None = None,
        *,
        pool: str | None = "mean",
        overwrite: bool = False,
        part: str | None = None,
    ) -> Exported:
        """Writes the encoder for another library, of joint samples that of one ``part``; `unmask.api.export` tells of
        formats and arguments."""
        run = self.run.of(None if part is None else [part], apart=True)
        return _told(export, run, format, None if out is None else Path(out), pool=pool, overwrite=overwrite)

    def _of(self, parts: Sequence[str] | str | None) -> Self:
        names = [parts] if isinstance(parts, str) else parts
        return self if names is None else type(self)(self.run.of(list(names)))

    def _samples(self, samples: Any) -> tuple[MaskedDataModule, list[Dataset]]:
        """A data module, and the data sets whose samples are meant."""
        if isinstance(samples, str | Path):
            samples = self.data.elsewhere(str(samples))
        if samples is None:
            samples = self.data
        if isinstance(samples, MaskedDataModule):
            samples.setup("validate")
            return samples, [Augmented(one) for one in samples.everything().values() if len(one)]  # type: ignore[arg-type]
        if not hasattr(samples, "__getitem__") or isinstance(samples, Mapping) or not len(samples):
            raise ValueError(
                "`samples` must be files, a list or data set of samples, or a data module, but is a "
                f"{type(samples).__name__}{'' if hasattr(samples, '__getitem__') else ' without `__getitem__`'}."
            )
        return self.data, [Augmented(samples)]


def _unlabelled(loader: Any) -> Any:
    """Batches without labels, so that rows without one are kept."""
    for batch in loader:
        yield {name: value for name, value in batch.items() if name != "label"}


def _told(function: Any, *args: Any, **kwargs: Any) -> Any:
    """What a function gives; mistakes in plain words."""
    try:
        return function(*args, **kwargs)
    except (ValueError, TypeError) as error:
        if isinstance(error, TypeError) and "unexpected keyword argument" not in str(error):
            raise
        raise UserError(message_of(error)) from error


def _words(found: Guess, options: Mapping[str, Any]) -> list[str]:
    """Options as words of a command line, each for what takes it."""
    run = Parser()
    fit.add_options(run)
    takes = {
        "": [action.dest for action in run._actions if action.dest != "ckpt_path"],  # `resume` says that
        "model": keys_of(_class(found, "model")),
        "data": keys_of(_class(found, "data")),
        "trainer": keys_of(Trainer),
    }
    words = []
    for name, value in options.items():
        first = name.partition(".")[0]
        takers = [first] if first in takes and "." in name else [one for one, keys in takes.items() if name in keys]
        if not takers:
            near = nearest(name, sorted({key for keys in takes.values() for key in keys}))
            hint = f"nearest: {quoted(near)}" if near else "`unmask show` tells the options of a method"
            raise UserError(f"There is no option `{name}` of the method, the data, the trainer or the run; {hint}.")
        for taker in takers:
            key = name if "." in name or not taker else f"{taker}.{name}"
            words += _flat(f"--{key}", value)
    return words


def _flat(option: str, value: Any) -> list[str]:
    """``{"ratio": 0.5}`` as options of a part; a dict with ``class_path`` is the part itself."""
    if isinstance(value, Mapping) and value:
        part = [f"{option}={value['class_path']}"] if "class_path" in value else []
        inner = value.get("init_args", {}) if part else value
        return [*part, *(word for name, one in inner.items() for word in _flat(f"{option}.{name}", one))]
    if isinstance(value, str | Path):
        return [f"{option}={value}"]
    try:
        return [f"{option}={json.dumps(value)}"]
    except TypeError:
        raise UserError(
            f"`{option.lstrip('-').partition('.')[2]}` must be a number, a text, a list or a dict of such, but is a "
            f"{type(value).__name__}."
        ) from None


def _class(found: Guess, part: str) -> Any:
    """The class of the model or of the data that a guess runs."""
    swapped = [word.partition("=")[2] for word in found.words if word.startswith(f"--{part}=")]
    if not swapped:
        file = Path(found.recipe)
        if not file.is_file():
            file = registry.find(found.recipe, registry.RECIPES).path()
        parsed = read_yaml(file, found.recipe)
        swapped = [parsed[part]["class_path"]] if isinstance(parsed, dict) and part in parsed else []
    matches = registry.matches(swapped[0], f"unmask.{'methods' if part == 'model' else part}") if swapped else []
    if len(matches) != 1:
        raise UserError(f"`{found.recipe}` must name a registered class for `{part}`, but does not.")
    return matches[0].load()
