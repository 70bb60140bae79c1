"""data2vec: the encoder is transformers', and so are the hidden states that the target is the mean of."""

import pytest
import torch
import torch.nn.functional as F
from transformers import Data2VecVisionConfig, Data2VecVisionModel

from unmask.masks import BlockMask
from unmask.targets import FrozenTeacher
from unmask.testing import MethodContract
from unmask_vision.encoders import ViTEncoder
from unmask_vision.methods import Data2Vec
from unmask_vision.tokenizer import PatchTokenizer

OPTIONS = {"embed_dim": 32, "depth": 3, "num_heads": 4, "rel_pos_type": "bias", "shared_rel_pos": True}


def encoder():
    options = {**OPTIONS, "qkv_bias": True, "init_values": 0.1}
    return ViTEncoder("vit_relpos_base_patch16_cls_224", 16, 4, mask_token=True, options=options)


def made(**options):
    torch.manual_seed(0)
    return Data2Vec(patch_size=4, encoder=encoder(), **{"mask": BlockMask(0.6, min_block=2), **options})


def shaken(model):
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


class TestData2Vec(MethodContract):
    lr = 3e-3

    def make(self):
        return made(top=2)

    def batch(self):
        return {"image": torch.rand(4, 3, 16, 16)}


def as_theirs(model):
    """Weights of an encoder as ``Data2VecVisionModel`` has them: keys have no bias there, which softmax drops."""
    names = [
        ("vit.patch_embed.proj.", "embeddings.patch_embeddings.projection."),
        ("vit.cls_token", "embeddings.cls_token"),
        ("mask_token", "embeddings.mask_token"),
        ("vit.shared_rel_pos.", "encoder.relative_position_bias."),
        ("vit.blocks.", "encoder.layer."),
        ("vit.norm.", "layernorm."),
        ("norm1.", "layernorm_before."),
        ("norm2.", "layernorm_after."),
        ("attn.proj.", "attention.output.dense."),
        ("mlp.fc1.", "intermediate.dense."),
        ("mlp.fc2.", "output.dense."),
        ("ls1.gamma", "lambda_1"),
        ("ls2.gamma", "lambda_2"),
    ]
    state = {}
    for name, tensor in model.state_dict().items():
        for ours, theirs in names:
            name = name.replace(ours, theirs)
        if "attn.qkv." not in name:
            state[name] = tensor
            continue
        for kind, part in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
            if not (kind == "key" and name.endswith("bias")):
                state[name.replace("attn.qkv", f"attention.attention.{kind}")] = part
    return state


def test_codes_and_targets_equal_transformers(given_mask, some_hidden):
    hidden = some_hidden(3, 16, 10)
    ours = made(top=2, mask=given_mask(hidden), tokenizer=PatchTokenizer(4, mean=[0.0] * 3, std=[1.0] * 3))
    ours = shaken(ours)
    config = Data2VecVisionConfig(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=128, image_size=16, patch_size=4,
        layer_norm_eps=1e-6, use_mask_token=True, use_shared_relative_position_bias=True, use_mean_pooling=False,
        layer_scale_init_value=0.1, drop_path_rate=0.0,
    )  # fmt: skip
    theirs = Data2VecVisionModel(config, add_pooling_layer=False).eval()
    image = torch.rand(3, 3, 16, 16)
    with torch.no_grad():
        step = ours.step({"image": image})
        left = theirs.load_state_dict(as_theirs(ours.encoder), strict=False)
        assert not left.unexpected_keys and all("relative_position_index" in key for key in left.missing_keys)
        codes = theirs(image, bool_masked_pos=hidden).last_hidden_state[:, 1:]
        theirs.load_state_dict(as_theirs(ours.target.teacher), strict=False)
        layers = theirs(image, output_hidden_states=True).hidden_states[-2:]
    torch.testing.assert_close(step.latent.values, codes, rtol=1e-4, atol=1e-5)
    mean = sum(F.layer_norm(layer[:, 1:], [32]) for layer in layers) / 2
    target = F.layer_norm(mean, [32])[hidden].view(3, 10, 32)
    torch.testing.assert_close(step.target, target, rtol=1e-4, atol=1e-5)
    gap = (ours.predictor.head(codes)[hidden].view(3, 10, 32) - target).abs()
    by_hand = torch.where(gap < 2, gap.square() / 4, gap - 1).mean()  # beta 2
    torch.testing.assert_close(step.loss.total, by_hand, rtol=1e-4, atol=1e-6)


def test_the_paper_s_defaults():
    model = Data2Vec(size="tiny", image_size=32)
    assert (model.target.top, model.target.momentum, model.loss.beta) == (6, 0.9998, 2.0)
    assert model.mask.ratio == 0.6
    assert Data2Vec(patch_size=4, encoder=encoder()).target.top == 3  # of three


def test_a_target_has_its_own_layers():
    with pytest.raises(ValueError, match="`top` must be left out when `target` is given"):
        made(top=2, target=FrozenTeacher(encoder()))
