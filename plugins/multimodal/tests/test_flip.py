"""FLIP: transformers' CLIP loss on the same codes; captions and retrieval by hand; nothing hidden reaches a code."""

import json
from types import SimpleNamespace

import pytest
import torch
from transformers import CLIPConfig, CLIPModel
from transformers.models.clip.modeling_clip import image_text_contrastive_loss

from unmask import EncoderByPart, Latent, Set, Step, TokenizerByPart, Tokens
from unmask.api import main
from unmask.masks import MaskByPart, RandomMask
from unmask.terms import Contrast
from unmask_multimodal.data import CaptionedDigits
from unmask_multimodal.data.captioned_digits import IDS, captions
from unmask_multimodal.methods import FLIP
from unmask_multimodal.retrieve import chance, codes, found
from unmask_text.encoders import TransformersEncoder
from unmask_text.tokenizer import TextTokenizer
from unmask_vision.encoders import ViTEncoder
from unmask_vision.tokenizer import PatchTokenizer

TEXT = {
    "model_type": "bert", "vocab_size": 64, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 32, "max_position_embeddings": 32,
}  # fmt: skip


@pytest.fixture
def model():
    torch.manual_seed(0)
    image = ViTEncoder("vit_tiny_patch16_224", 8, 2, 1, options={"embed_dim": 32, "depth": 2, "num_heads": 2})
    made = FLIP(
        tokenizer=TokenizerByPart({"image": PatchTokenizer(2, 1), "text": TextTokenizer()}),
        encoder=EncoderByPart({"image": image, "text": TransformersEncoder(TEXT)}),
        width=16,
    )
    return made.eval()


@pytest.fixture(scope="module")
def data():
    made = CaptionedDigits(batch_size=6, num_val=40)
    made.setup("fit")
    return made


@pytest.fixture
def batch(data):
    return next(iter(data.val_dataloader()))


def test_the_loss_equals_transformers_clip_loss(model, batch):
    """Each encoder by itself, the image's on half of its patches, the text's on all of it."""
    step = model.step(batch, 0)
    assert step.mask.part("image").hidden.sum(1).tolist() == [8] * 6
    assert not step.mask.part("text").hidden.any()
    image, text = model.encoder.encoders["image"], model.encoder.encoders["text"]
    tokens = {name: one(batch) for name, one in model.tokenizer.tokenizers.items()}
    contrast = model.terms["contrast"]
    with torch.no_grad():
        seen = image(tokens["image"], step.mask.part("image")).values.mean(1)
        first = contrast.projects[0](seen)
        second = contrast.projects[1](text(tokens["text"]).prefix[:, 0])
        first, second = (one / one.norm(dim=-1, keepdim=True) for one in (first, second))
        theirs = image_text_contrastive_loss(second @ first.mT * contrast.log_scale.exp())
    torch.testing.assert_close(step.loss.total, theirs)
    assert contrast.log_scale.exp().item() == pytest.approx(1 / 0.07)


def test_the_loss_equals_clip_model_at_shared_weights():
    """transformers' `CLIPModel`: its own pooled codes, its projections, its scale."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config={**sizes, "vocab_size": 50, "max_position_embeddings": 12, "eos_token_id": 49, "bos_token_id": 48},
        vision_config={**sizes, "hidden_size": 32, "image_size": 8, "patch_size": 2, "num_channels": 1},
        projection_dim=16,
    )
    theirs = CLIPModel(config).eval()
    ids = torch.cat([torch.randint(40, (5, 11)), torch.full((5, 1), 49)], dim=1)
    pixels = torch.rand(5, 1, 8, 8)
    with torch.no_grad():
        found = theirs(input_ids=ids, pixel_values=pixels, return_loss=True)
        image = theirs.vision_model(pixels).pooler_output[:, None]
        text = theirs.text_model(ids).pooler_output[:, None]
    term = Contrast(width=16, pools=("cls", "cls"))
    encoders = {"image": SimpleNamespace(width=32), "text": SimpleNamespace(width=24)}
    term.start(SimpleNamespace(encoder=SimpleNamespace(encoders=encoders)))
    term.projects[0].load_state_dict(theirs.visual_projection.state_dict())
    term.projects[1].load_state_dict(theirs.text_projection.state_dict())
    with torch.no_grad():
        term.log_scale.copy_(theirs.logit_scale)
    places = Tokens.join({name: Tokens(torch.zeros(5, 1, 1), Set()) for name in encoders})
    latent = Latent.join({"image": Latent(image, prefix=image), "text": Latent(text, prefix=text)})
    step = Step(places, None, None, latent, None, None)
    torch.testing.assert_close(term(step, None), found.loss)
    torch.testing.assert_close(term.similarities(step, ("image", "text")), found.logits_per_image)


def test_no_hidden_patch_reaches_the_loss(model, batch):
    step = model.step(batch, 0)
    covered = step.mask.part("image").hidden.view(6, 1, 4, 4).repeat_interleave(2, 2).repeat_interleave(2, 3)
    unknown = {**batch, "image": torch.where(covered, torch.nan, batch["image"])}
    assert torch.equal(model.step(unknown, 0).loss.total, step.loss.total)
    seen = {**batch, "image": torch.where(covered, batch["image"], 1 - batch["image"])}
    assert not torch.equal(model.step(seen, 0).loss.total, step.loss.total)


def test_the_scale_never_leaves_its_range(model, batch):
    contrast = model.terms["contrast"]
    with torch.no_grad():
        contrast.log_scale.fill_(9.0)
    assert contrast.update(model, None)["scale"] == pytest.approx(100.0)


def test_either_encoder_is_used_afterwards(model, batch):
    assert model.embed(batch).values.shape == (6, 16, 32)
    model.used = "text"
    assert model.embed(batch).values.shape == (6, len(batch["ids"][0]), 24)


def test_captions_are_what_was_measured():
    """A wide bar at the top left among blank images, and a tall one at the bottom right."""
    images = torch.zeros(4, 1, 8, 8)
    images[0, 0, 1, 0:5] = 1.0
    images[1, 0, 3:8, 6] = 0.5
    images[2, 0, 4:, 4:] = 1.0
    images[3, 0, :, :] = 1.0
    words = {number: word for word, number in IDS.items()}
    told = [" ".join(words[number] for number in row) for row in captions(images, torch.tensor([7, 1, 4, 8])).tolist()]
    assert told[0] == "a light wide seven , heavier at the left and the top"
    assert told[1] == "a faint narrow one , heavier at the right and the bottom"
    assert told[2].startswith("a dark narrow four , heavier at the right and the bottom")
    assert told[3].startswith("a black narrow eight")


def test_retrieval_by_hand():
    """Three images, two of them with the same caption: the second finds another's, the third its own twin."""
    texts = torch.eye(3)
    images = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.5, 0.0], [0.0, 1.0, 0.0]])
    same = torch.tensor([[True, False, False], [False, True, True], [False, True, True]])
    assert found(images, texts, same, 1).tolist() == [1, 0, 1]
    assert found(images, texts, same, 2).tolist() == [1, 1, 1]
    torch.testing.assert_close(chance(same, 1), torch.tensor([1, 2, 2]).double() / 3)
    torch.testing.assert_close(chance(same, 2), torch.tensor([2 / 3, 1, 1], dtype=torch.float64))  # pairs of three


def test_codes_of_pairs_have_length_one_and_know_their_twins(model, data):
    (images, texts), same, how = codes(model, data.val_dataloader(), ("image", "text"))
    assert how == "projections of the contrast"
    assert images.shape == texts.shape == (40, 16)
    torch.testing.assert_close(images.norm(dim=1), torch.ones(40))
    assert same.diagonal().all()
    assert torch.equal(same, same.mT)


def test_a_short_run_retrieves(tmp_path, capsys):
    run = str(tmp_path / "run")
    options = ["--trainer.max_steps", "2", "--trainer.check_val_every_n_epoch", "1", "--data.num_val", "60"]
    assert main(["fit", "--config", "multimodal/flip-digits", *options, "--out", run]) == 0
    capsys.readouterr()
    assert main(["multimodal-retrieve", run]) == 0
    told = capsys.readouterr().out
    for row in ("image to text, recall at 1 ", "text to image, recall at 10 "):
        assert row in told
    assert "60 held-out samples; projections of the contrast" in told
    assert json.loads((tmp_path / "run" / "retrieve.json").read_text())["columns"][0] == "chance"
    assert main(["multimodal-retrieve", run, "--parts", "image"]) == 2
    assert "`--parts` must be two of image, text, but is image." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"used": "sound"}, "`used` must be 'image' or 'text', but is 'sound'"),
        ({"width": 0}, "`width` must be at least 1, but is 0"),
        ({"temperature": 0.0}, "`temperature` must be above 0, but is 0"),
        ({"encoder": None}, "`encoder` must be given, with parts `image` and `text`, but is None"),
    ],
)
def test_what_is_refused(model, options, rule):
    with pytest.raises(ValueError, match=rule):
        FLIP(**{"tokenizer": model.tokenizer, "encoder": model.encoder, **options})


def test_an_encoder_without_such_a_part_is_refused(model):
    term = Contrast("image", "sound")
    with pytest.raises(ValueError, match="The encoder must have a part `sound`, but has image, text"):
        term.start(model)


def test_masks_that_hide_text_are_possible(model, batch):
    """Section 4.2 tries it: both parts hidden."""
    model.mask = MaskByPart({"image": RandomMask(ratio=0.5), "text": RandomMask(ratio=0.5)})
    step = model.step(batch, 0)
    assert step.mask.part("text").hidden.sum(1).tolist() == [6] * 6
    assert torch.isfinite(step.loss.total)
