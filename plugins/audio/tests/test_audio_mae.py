"""Audio-MAE and A-JEPA: a whole step beside transformers' ViTMAE or written out, leaks, defaults, refusals."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import ViTMAEConfig, ViTMAEForPreTraining

from unmask import Grid, Progress, Tokenizer, Tokens
from unmask.masks import BlockMask, ColorNoiseMask, RandomMask
from unmask.predictors import TransformerPredictor
from unmask.targets import EMATeacher
from unmask.testing import GivenMask
from unmask_audio.encoders.vit import SpectrogramViT
from unmask_audio.masks import CurriculumMask, EnergyMask, TimeFrequencyBlockMask, TimeFrequencyMask
from unmask_audio.methods.a_jepa import AJEPA
from unmask_audio.methods.audio_mae import AudioMAE
from unmask_audio.methods.sizes import SIZES
from unmask_audio.predictors import LocalDecoder

WIDTH, DEPTH, HEADS, SIDE, PATCH = 32, 3, 4, 24, 4
SEEN_FIRST = torch.rand(3, 36, generator=torch.Generator().manual_seed(5)).argsort(1)


class Patches(Tokenizer):
    """``[B, T, F]`` spectrograms as they are, cut into patches; each of as many times as told, all of them if not."""

    def __init__(self, *num_times: int) -> None:
        super().__init__()
        self.num_times = num_times

    def forward(self, batch) -> Tokens:
        times, frequencies = (side // PATCH for side in batch.shape[1:])
        cells = batch.unflatten(2, (frequencies, PATCH)).unflatten(1, (times, PATCH)).transpose(2, 3)
        own = torch.tensor(self.num_times)[:, None] * frequencies
        valid = torch.arange(times * frequencies) < own if self.num_times else None
        return Tokens(cells.flatten(3).flatten(1, 2), Grid((times, frequencies)), valid=valid)


def spectrograms(batch=3, times=SIDE, frequencies=SIDE, seed=0):
    return torch.randn(batch, times, frequencies, generator=torch.Generator().manual_seed(seed))


def shake(model):
    """Random values everywhere, so that no zero bias or unit norm hides a mistake."""
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
            parameter.add_(0.1 * noise * parameter.requires_grad)
    return model


def audio_mae(**options):
    torch.manual_seed(0)
    encoder = SpectrogramViT(WIDTH, DEPTH, HEADS, PATCH * PATCH)
    options = {"predictor": LocalDecoder(WIDTH, PATCH * PATCH, 24, 4, 2, (2, 2), (1, 0)), **options}
    return shake(AudioMAE(patch=(PATCH, PATCH), tokenizer=Patches(), encoder=encoder, **options))


def in_their_names(model) -> dict[str, Tensor]:
    """The weights of encoder and global decoder, as transformers' ViTMAE calls them."""
    encoder, decoder = model.encoder, model.predictor
    state = {
        "vit.embeddings.cls_token": encoder.cls_token,
        "vit.embeddings.patch_embeddings.projection.weight": encoder.embed.weight.view(WIDTH, 1, PATCH, PATCH),
        "vit.embeddings.patch_embeddings.projection.bias": encoder.embed.bias,
        "decoder.mask_token": decoder.mask_token,
    }
    parts = {
        "vit.layernorm": encoder.trunk.norm,
        "decoder.decoder_embed": decoder.embed,
        "decoder.decoder_norm": decoder.trunk.norm,
        "decoder.decoder_pred": decoder.head,
    }
    for where, trunk in (("vit.layers", encoder.trunk), ("decoder.decoder_layers", decoder.trunk)):
        for number, block in enumerate(trunk.blocks):
            for end in ("weight", "bias"):
                for name, part in zip("qkv", getattr(block.attn.qkv, end).chunk(3), strict=True):
                    state[f"{where}.{number}.attention.{name}_proj.{end}"] = part
            names = ("layernorm_before", "layernorm_after", "attention.o_proj", "mlp.fc1", "mlp.fc2")
            own = (block.norm1, block.norm2, block.attn.proj, block.mlp.fc1, block.mlp.fc2)
            parts |= {f"{where}.{number}.{name}": part for name, part in zip(names, own, strict=True)}
    state |= {f"{name}.{end}": getattr(part, end) for name, part in parts.items() for end in ("weight", "bias")}
    return {name: tensor.detach().clone() for name, tensor in state.items()}


def vit_mae(hidden_ratio) -> ViTMAEForPreTraining:
    config = ViTMAEConfig(
        hidden_size=WIDTH, num_hidden_layers=DEPTH, num_attention_heads=HEADS, intermediate_size=4 * WIDTH,
        image_size=SIDE, patch_size=PATCH, num_channels=1, layer_norm_eps=1e-6, decoder_hidden_size=24,
        decoder_num_hidden_layers=2, decoder_num_attention_heads=2, decoder_intermediate_size=96,
        mask_ratio=hidden_ratio, norm_pix_loss=True,
    )  # fmt: skip
    return ViTMAEForPreTraining(config)


def test_a_step_equals_transformers_vit_mae():
    """Loss, and the gradient of every weight, at shared weights, positions and mask, on spectrograms of 24 by 24."""
    hidden = torch.zeros(3, 36, dtype=torch.bool).scatter(1, SEEN_FIRST[:, 7:], True)
    ours = audio_mae(predictor=TransformerPredictor(WIDTH, PATCH * PATCH, 24, 2, 2), mask=GivenMask(hidden))
    theirs = vit_mae(0.8)
    left = theirs.load_state_dict(in_their_names(ours), strict=False)
    assert not left.unexpected_keys
    assert set(left.missing_keys) == {"vit.embeddings.position_embeddings", "decoder.decoder_pos_embed"}
    spectrogram = spectrograms()
    tokens = ours.tokenizer(spectrogram)
    for table, width in ((theirs.vit.embeddings.position_embeddings, WIDTH), (theirs.decoder.decoder_pos_embed, 24)):
        with torch.no_grad():  # a model of a config has none
            table.zero_()[0, 1:] = SpectrogramViT(width, 1, 2, 16)._positions(tokens)[0]

    step = ours.step(spectrogram)
    output = theirs(spectrogram[:, None], noise=hidden.float() + torch.linspace(0, 0.5, 36))
    assert torch.equal(output.mask.bool(), hidden)
    torch.testing.assert_close(step.loss.total, output.loss, rtol=1e-5, atol=0)
    step.loss.total.backward()
    output.loss.backward()
    for parameter in ours.parameters():
        parameter.data = parameter.grad
    gradients = in_their_names(ours)
    for name, parameter in theirs.named_parameters():
        if parameter.requires_grad:
            scale = parameter.grad.abs().max().item()
            torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-5, atol=max(1e-5 * scale, 1e-8))


def test_a_step_with_the_local_decoder_by_hand():
    """80% of 36 patches are 29; each is normalised by its own mean and unbiased deviation; the mean of squares."""
    model = audio_mae()
    spectrogram = spectrograms()
    step = model.step(spectrogram, 0)
    assert step.mask.hidden.sum(1).tolist() == [29, 29, 29]
    assert step.latent.values.shape == (3, 7, WIDTH)
    losses = []
    for sample, hidden in enumerate(step.mask.hidden):
        answers = iter(step.prediction.values[sample])
        for place in hidden.nonzero().flatten().tolist():
            time, frequency = divmod(place, 6)
            patch = spectrogram[sample, 4 * time : 4 * time + 4, 4 * frequency : 4 * frequency + 4].flatten()
            patch = (patch - patch.mean()) / (patch.var() + 1e-6).sqrt()
            losses.append((next(answers) - patch).square().mean())
    torch.testing.assert_close(step.loss.per_token.flatten(), torch.stack(losses).detach())
    torch.testing.assert_close(step.loss.total, torch.stack(losses).mean())
    step.loss.total.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def a_jepa(*num_times, **options):
    torch.manual_seed(0)
    encoder = SpectrogramViT(WIDTH, DEPTH, HEADS, PATCH * PATCH, class_token=False)
    predictor = TransformerPredictor(WIDTH, WIDTH, 24, 2, 2)
    return shake(
        AJEPA(patch=(PATCH, PATCH), tokenizer=Patches(*num_times), encoder=encoder, predictor=predictor, **options)
    )


def a_jepa_loss_by_hand(model, step):
    """The mean over all that is asked; rows of answers are filled up only where clips are padded."""
    codes = F.layer_norm(model.target.teacher(step.tokens).values, (WIDTH,))
    losses = [
        (answer - codes[sample, place]).square().mean()
        for sample in range(len(codes))
        for group, asked in zip(step.prediction.values[sample], step.mask.predict[sample], strict=True)
        for answer, place in zip(group, asked.nonzero().flatten().tolist(), strict=step.tokens.valid is None)
    ]
    return torch.stack(losses).mean()


def test_a_jepa_compares_with_the_teachers_normed_codes():
    model = a_jepa(mask=TimeFrequencyBlockMask(min_keep=4))
    spectrogram = spectrograms(3, 48, 32)
    step = model.step(spectrogram, 0)
    assert step.prediction.values.shape[:2] == (3, 3)
    assert isinstance(model.target, EMATeacher)
    assert model.embedder.encoder is model.target.teacher
    torch.testing.assert_close(step.loss.total, a_jepa_loss_by_hand(model, step))
    # One step of the teacher by hand, at momentum 0.996.
    before = model.target.teacher.embed.weight.clone()
    with torch.no_grad():
        model.encoder.embed.weight.add_(1.0)
    assert model.target.update(model, Progress(total_steps=10))["momentum"] == pytest.approx(0.996)
    expected = 0.996 * before + 0.004 * model.encoder.embed.weight
    torch.testing.assert_close(model.target.teacher.embed.weight, expected)


@pytest.mark.parametrize("share", [0.0, 1.0], ids=["easy", "hard"])
def test_a_jepa_asks_short_clips_for_blocks_of_their_own(share):
    """Clips of 8 and of 4 times: the loss is by hand the mean over what is asked, and padding has no part in it."""
    model = a_jepa(8, 4, mask=CurriculumMask(share=share, second=TimeFrequencyBlockMask(min_keep=2))).eval()
    spectrogram = spectrograms(2, 32, 32)
    step = model.step(spectrogram, 0)
    valid = step.tokens.valid
    assert valid.sum(1).tolist() == [64, 32]
    assert not (step.mask.predict & ~valid[:, None]).any()
    asked = step.mask.predict.flatten(1).sum(1)
    assert asked[0] > asked[1] > 0
    torch.testing.assert_close(step.loss.total, a_jepa_loss_by_hand(model, step))

    other = spectrogram.clone()
    other[1, 16:] += 5.0
    again = model.step(other, 0)
    assert torch.equal(again.mask.predict, step.mask.predict)
    torch.testing.assert_close(again.loss.total, step.loss.total)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize(
    "make",
    [
        lambda: audio_mae(),
        lambda: audio_mae(mask=TimeFrequencyMask(0.7)),
        lambda: audio_mae(mask=BlockMask(0.6, min_block=4)),
        lambda: audio_mae(mask=ColorNoiseMask(0.7)),
        lambda: a_jepa(mask=CurriculumMask(share=0.0)),
        lambda: a_jepa(mask=CurriculumMask(share=1.0)),
    ],
    ids=["local", "time-frequency", "block", "color-noise", "a-jepa easy", "a-jepa hard"],
)
def test_answers_do_not_depend_on_what_is_hidden(make, training):
    """Bit for bit; the target does, and so do answers on what is visible."""
    model = make().train(training)
    spectrogram = spectrograms(2, 32, 32)

    def step(values):
        with torch.no_grad():
            return model.step(values, 5)

    first = step(spectrogram)
    cells = first.mask.hidden.view(2, 8, 1, 8, 1).expand(-1, -1, PATCH, -1, PATCH).reshape(2, 32, 32)
    other = step(torch.where(cells, torch.randn_like(spectrogram), spectrogram))
    assert torch.equal(first.mask.hidden, other.mask.hidden)
    assert torch.equal(first.prediction.values, other.prediction.values)
    assert not torch.equal(first.target, other.target)
    seen = step(torch.where(cells, spectrogram, spectrogram + 0.1))
    assert not torch.equal(first.prediction.values, seen.prediction.values)


def test_a_mask_that_reads_levels_shows_no_more_than_where_it_fell():
    model = audio_mae(mask=EnergyMask(0.6))
    spectrogram = spectrograms(2, 32, 32)
    spectrogram[:, 8:20] += 4.0
    first = model.step(spectrogram, 0)
    assert first.mask.hidden.sum(1).tolist() == [39, 39]
    cells = first.mask.hidden.view(2, 8, 1, 8, 1).expand(-1, -1, PATCH, -1, PATCH).reshape(2, 32, 32)
    model.mask = GivenMask(first.mask.hidden)
    other = model.step(spectrogram.where(~cells, 0.0))
    assert torch.equal(first.prediction.values, other.prediction.values)


def test_short_clips_are_hidden_and_answered_by_themselves():
    class Short(Patches):
        def forward(self, batch) -> Tokens:
            tokens = super().forward(batch)
            real = torch.arange(36) < torch.tensor([36, 12, 18])[:, None]
            return Tokens(tokens.values, tokens.layout, valid=real)

    model = audio_mae(mask=RandomMask(0.5)).eval()
    model.tokenizer = Short()
    step = model.step(spectrograms(), 0)
    assert step.mask.hidden.sum(1).tolist() == [18, 6, 9]
    assert step.loss.total.isfinite()
    model.tokenizer, model.mask = Patches(), GivenMask(step.mask.hidden[1:2, :12])
    alone = model.step(spectrograms()[1:2, :8])
    torch.testing.assert_close(alone.loss.per_token[0], step.loss.per_token[1, :6], rtol=1e-4, atol=1e-5)


@pytest.fixture
def _unfilled(monkeypatch):
    """Models are not filled with random numbers, which takes longer than all else."""
    for name in ("xavier_uniform_", "kaiming_uniform_"):
        monkeypatch.setattr(torch.nn.init, name, lambda tensor, *args, **options: tensor)


@pytest.mark.usefixtures("_unfilled")
def test_paper_defaults():
    model = AudioMAE()
    blocks = model.encoder.trunk.blocks
    assert (model.encoder.width, len(blocks), blocks[0].attn.num_heads) == (768, 12, 12)
    decoder = model.predictor
    assert isinstance(decoder, LocalDecoder)
    assert (decoder.embed.out_features, len(decoder.trunk.blocks), decoder.window, decoder.shift) == (
        512, 16, (4, 4), (2, 0),
    )  # fmt: skip
    assert (model.mask.ratio, model.target.normalize, decoder.head.out_features) == (0.8, True, 256)
    assert (model.tokenizer.num_frames, model.tokenizer.patch, model.tokenizer.frontend.width) == (1024, (16, 16), 128)
    assert (model.optim.base_lr, model.optim.weight_decay, model.optim.warmup_epochs) == (2e-4, 1e-4, 3)
    assert len(AudioMAE(size="tiny", decoder="global").predictor.trunk.blocks) == 4
    jepa = AJEPA(size="tiny")
    assert jepa.encoder.cls_token is None
    assert (jepa.predictor.width, len(jepa.predictor.trunk.blocks)) == (192, 4)
    assert SIZES["base"][3:6] == (512, 16, 16)  # the same as the decoder's: width, heads, blocks
    assert (jepa.mask.first.num_targets, jepa.mask.second.num_targets) == (4, 3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AudioMAE(size="giant"), "`size` must be one of tiny, small, base, large, but is 'giant'"),
        (lambda: AudioMAE(size="tiny", decoder="both"), "`decoder` must be one of local, global, but is 'both'"),
        (lambda: AudioMAE(size="tiny", encoder=SpectrogramViT(8, 1, 2)), "`size` must be left out when `encoder`"),
        (
            lambda: AudioMAE(size="tiny", decoder="global", predictor=LocalDecoder(192, 256, 16, 1, 2)),
            "`decoder` must be left out when `predictor`",
        ),
        (lambda: AJEPA(size="tiny", encoder=SpectrogramViT(8, 1, 2)), "`size` must be left out when `encoder`"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
