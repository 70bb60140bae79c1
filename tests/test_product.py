"""Every mask of core under every method on images: a pair trains one step, or is refused in a sentence that says why.

Both come from the registries, so a new mask or method is covered by being registered. A method is made as its recipe on
the digits makes it, a mask with its defaults, or as a recipe uses it.
"""

import copy
import inspect
import math
import re
from functools import cache
from unittest import mock

import pytest
import torch

from unmask import MaskedModel, seeds
from unmask.cli.building import built
from unmask.cli.fit import Training
from unmask.masks import MaskByPart, RandomMask
from unmask.plugins.registry import components, find
from unmask.structures import Grid

METHODS = [
    c.name
    for c in components()
    if c.distribution == "unmask-vision" and c.family == "methods" and "mask" in inspect.signature(c.load()).parameters
]  # others, such as a tokenizer's first stage, hide nothing
MASKS = [c.name for c in components() if c.distribution in ("unmask", "unmask-vision") and c.family == "masks"]
RECIPES = [c for c in components() if c.family == "recipes"]
QUICK = ("vision.mae", "vision.simmim", "vision.ijepa")
"""One that drops, one that replaces, one that is asked for groups; the others take minutes together."""
SAMPLES = 2
LONGEST = 300
"""Characters of a refusal."""


@cache
def recipe_of(method):
    """Class and arguments of a method, and one small batch, as the recipe has them that needs no data of one's own."""
    named = [c for c in RECIPES if re.search(rf"^  class_path: {re.escape(method)}$", c.path().read_text(), re.M)]
    assert named, f"{method} has no recipe"
    recipe = next((c for c in named if c.name.endswith("-digits")), named[0])
    given = {}

    def remembering(self, kind, *args, **kwargs):
        if issubclass(kind, MaskedModel):
            given.update(copy.deepcopy(kwargs))
        return kind(*args, **kwargs)

    with torch.random.fork_rng(), mock.patch.object(Training, "_instantiate", remembering):
        model, data = built("check", ["--config", recipe.name, "--data.batch_size", str(SAMPLES)])
        data.setup("fit")
        batch = next(iter(data.train_dataloader()))
    return type(model), given, batch, list(model.tokenizer(batch).parts or ["whole"])


def mask_for(name, parts):
    """A mask with its defaults; one by part hides each part of the method's tokens; others as a recipe has them."""
    if name == "by-part":
        return MaskByPart({part: RandomMask(0.5) for part in parts})
    kind = find(name, "unmask.masks").load()
    required = [one for one in inspect.signature(kind).parameters.values() if one.default is one.empty]
    if not [one for one in required if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]:
        return kind()
    using = [c.name for c in RECIPES if re.search(rf"class_path: {re.escape(name)}\b", c.path().read_text())]
    assert using, f"the mask {name} needs {required[0].name}, and no recipe uses it"
    config = built("check", ["--config", using[0]])
    return copy.deepcopy(config[0].mask)


def tried(method, name):
    """A step's loss, backward and all; or the words of a refusal."""
    kind, given, batch, parts = recipe_of(method)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        try:
            model = kind(**given | {"mask": mask_for(name, parts)}).train()  # no weight is changed
            model.zero_grad()
            total = model.step(batch, seeds.mix("product", 0)).loss.total
        except ValueError as error:
            return str(error)
    total.backward()
    gradients = [one.grad for one in model.parameters() if one.grad is not None]
    assert gradients, f"{name} leaves {method} nothing to learn from, and does not say so"
    assert all(torch.isfinite(one).all() for one in gradients), f"{name} breaks the gradient of {method}"
    return total.item()


def holds(method, name):
    """Whether a pair trains. One that does not must say so in a sentence."""
    found = tried(method, name)
    if isinstance(found, float):
        assert math.isfinite(found), f"the loss of {method} under {name} is {found}"
        return True
    assert "\n" not in found and len(found) < LONGEST, found
    assert re.match(r"[A-Z`]", found) and found.endswith("."), f"no sentence: {found}"
    return False


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("method", QUICK)
def test_a_pair_of_the_first_methods_trains_or_is_refused_in_a_sentence(method, name):
    holds(method, name)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_pair_trains_or_is_refused_in_a_sentence(method):
    taken, broken = [], []
    for name in MASKS:
        try:
            taken += [name] if holds(method, name) else []
        except Exception as error:  # all of them are told at once
            broken.append(f"{name}: {type(error).__name__}: {str(error).splitlines()[0]}")
    assert not broken, f"{method} under {'; under '.join(broken)}"
    assert taken, f"{method} takes no mask at all"
    print(f"{method} takes {', '.join(taken)}; refused: {', '.join(sorted(set(MASKS) - set(taken)))}")


def test_every_mask_that_works_on_images_is_taken():
    kinds = {name: find(name, "unmask.masks").load() for name in MASKS}
    fitting = [name for name, kind in kinds.items() if issubclass(Grid, kind.layouts) and 2 in kind.grid_sides]
    # Parts, a term, regions or boxes of the data, a teacher: these methods have none.
    needing = {"by-part", "apart", "partition", "nothing", "hard", "inside", "region", "scored"}
    assert needing < set(fitting)
    assert not [name for name in fitting if name not in needing and not any(holds(one, name) for one in QUICK)]
