"""Kaldi's filter bank in batches against torchaudio's clip by clip, and a step of Audio-MAE against plain torch.

Both sides run in the same process, turn by turn; the figure is the ratio of the medians, so a slow minute of the
machine slows both. With --cpu_time only what the processor spent on the process counts, for machines shared with
others; what a hypervisor takes to find fresh memory is then left out, too, of which calls clip by clip need more.
The plain step is Audio-MAE as its released code has it: blocks as in timm, shuffling by argsort, no tricks; it is
given the same features, and its weights. Memory of a step: what is kept for the backward pass, and on a GPU the peak.

    python benchmarks/speed/audio.py [--rounds 9] [--threads 1] [--device cpu] [--only fbank step] [--batch 8] [--bf16]
                                      [--cpu_time]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchaudio.compliance import kaldi
from turns import adamw, medians, stepper

from unmask import Grid
from unmask.nn import sincos
from unmask_audio.frontends import Fbank
from unmask_audio.methods.audio_mae import AudioMAE

CLIPS = ((64, 0.5), (64, 1.0), (16, 10.0))
"""Clips of a batch, and their seconds."""
RATE = 16_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", nargs="+", default=["fbank", "step"], choices=["fbank", "step"])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", default="small", choices=["tiny", "small", "base"])
    parser.add_argument("--cpu_time", action="store_true", help="seconds of the processor instead of those of a clock")
    parser.add_argument("--bf16", action="store_true", help="autocast of the step to bfloat16")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    print(f"{given.threads} thread{'s' * (given.threads > 1)}, {given.device}")
    if "fbank" in given.only:
        filter_bank(given)
    if "step" in given.only:
        step(given)


def filter_bank(given: argparse.Namespace) -> None:
    """128 bins of tones in noise."""
    frontend = Fbank().to(given.device)
    for num_clips, seconds in CLIPS:
        time_ = torch.arange(int(seconds * RATE)) / RATE
        pitch = 100 + 50 * torch.arange(num_clips)[:, None]
        wave = (0.3 * (2 * torch.pi * pitch * time_).sin() + 0.05 * torch.randn(num_clips, len(time_))).to(given.device)

        def theirs(wave: Tensor = wave) -> Tensor:
            return torch.stack([
                kaldi.fbank(clip[None], num_mel_bins=128, window_type="hanning", htk_compat=True) for clip in wave
            ])  # fmt: skip

        def ours(wave: Tensor = wave) -> Tensor:
            return frontend(wave).values

        difference = float((ours() - theirs()).abs().max())
        assert difference < 1e-4, f"the answers differ by {difference}"
        fast, slow = compare(ours, theirs, given)
        print(
            f"  fbank, {num_clips} clips of {seconds:4.1f} s {fast * 1e3:9.2f} ms, clip by clip {slow * 1e3:9.2f} ms: "
            f"{slow / fast:6.2f} x, at most {difference:.1e} apart"
        )


def step(given: argparse.Namespace) -> None:
    """Forward, backward and update on 1,024 frames of 128 bins, 80% hidden, with a global decoder."""
    ours = AudioMAE(size=given.size, decoder="global").to(given.device).train()
    theirs = Plain(ours).to(given.device).train()
    wave = 0.1 * torch.randn(given.batch, 400 + 1023 * 160, device=given.device)  # 1,024 frames
    generator = torch.Generator(given.device).manual_seed(0)
    losses: dict[str, Callable[[], Tensor]] = {
        "unmask": lambda: ours.step({"wave": wave}).loss.total,
        "plain": lambda: theirs(wave, generator),
    }
    with torch.no_grad():  # the same mean loss over masks: it is the same model
        found = {name: torch.stack([loss() for _ in range(4)]).mean().item() for name, loss in losses.items()}
    assert abs(found["unmask"] - found["plain"]) < 0.02, f"the losses differ: {found}"
    steps = {
        name: stepper(model, losses[name], adamw(model), given.device, given.bf16)
        for name, model in (("unmask", ours), ("plain", theirs))
    }
    fast, slow = compare(steps["unmask"], steps["plain"], given)
    precision = "bfloat16" if given.bf16 else "float32"
    print(
        f"  step, ViT {given.size}, batch {given.batch}, {precision} {fast * 1e3:9.1f} ms, plain {slow * 1e3:9.1f} ms: "
        f"{slow / fast:6.2f} x"
    )
    for name, loss in losses.items():
        kept = memory(loss, given) / 2**20
        peak = ""
        if given.device != "cpu":
            torch.cuda.reset_peak_memory_stats()
            steps[name]()
            peak = f", peak of all models here {torch.cuda.max_memory_allocated() / 2**20:,.0f} MiB"
        print(f"  memory of {name}: {kept:,.0f} MiB kept for the backward pass{peak}")


def compare(ours: Callable[[], object], theirs: Callable[[], object], given: argparse.Namespace) -> tuple[float, float]:
    """Median seconds of both sides."""
    clock = time.process_time if given.cpu_time else time.perf_counter
    found = medians({"ours": ours, "theirs": theirs}, given.rounds, given.device, clock=clock)
    return found["ours"], found["theirs"]


def memory(loss: Callable[[], Tensor], given: argparse.Namespace) -> int:
    """Bytes that autograd keeps for the backward pass, parameters included, each storage once."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
    with hooks, torch.autocast(given.device, torch.bfloat16, enabled=given.bf16):
        value = loss()
    del value
    return sum(kept.values())


class Plain(nn.Module):
    """Audio-MAE after its released code, with the weights of ours."""

    def __init__(self, ours: AudioMAE) -> None:
        super().__init__()
        encoder, decoder = ours.encoder, ours.predictor
        self.frontend = ours.tokenizer.frontend
        width, narrow = encoder.width, decoder.width
        self.embed = nn.Conv2d(1, width, 16, 16)
        self.cls_token = nn.Parameter(encoder.cls_token.detach().clone())
        self.blocks = nn.ModuleList(PlainBlock(width, block.attn.num_heads) for block in encoder.trunk.blocks)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.narrow = nn.Linear(width, narrow)
        self.mask_token = nn.Parameter(decoder.mask_token.detach().view(1, 1, -1).clone())
        self.decoder = nn.ModuleList(PlainBlock(narrow, block.attn.num_heads) for block in decoder.trunk.blocks)
        self.decoder_norm = nn.LayerNorm(narrow, eps=1e-6)
        self.head = nn.Linear(narrow, 256)
        with torch.no_grad():
            self.embed.weight.copy_(encoder.embed.weight.view(width, 1, 16, 16))
            self.embed.bias.copy_(encoder.embed.bias)
        self.blocks.load_state_dict(encoder.trunk.blocks.state_dict())
        self.norm.load_state_dict(encoder.trunk.norm.state_dict())
        self.narrow.load_state_dict(decoder.embed.state_dict())
        self.decoder.load_state_dict(decoder.trunk.blocks.state_dict())
        self.decoder_norm.load_state_dict(decoder.trunk.norm.state_dict())
        self.head.load_state_dict(decoder.head.state_dict())
        self.register_buffer("places", sincos(Grid((64, 8)), 512, width)[None])
        self.register_buffer("decoder_places", sincos(Grid((64, 8)), 512, narrow)[None])

    def forward(self, wave: Tensor, generator: torch.Generator) -> Tensor:
        image = (self.frontend(wave).values[:, None, :1024] + 4.2677393) / (2 * 4.5689974)  # [B, 1, 1024, 128]
        x = self.embed(image).flatten(2).transpose(1, 2) + self.places  # [B, 512, D]
        batch, length, width = x.shape
        num_kept = int(length * 0.2)
        order = torch.rand(batch, length, device=x.device, generator=generator).argsort(dim=1)
        back = order.argsort(dim=1)
        x = x.gather(1, order[:, :num_kept, None].expand(-1, -1, width))
        hidden = torch.ones(batch, length, device=x.device)
        hidden[:, :num_kept] = 0
        hidden = hidden.gather(1, back)
        x = torch.cat([self.cls_token.expand(batch, -1, -1), x], dim=1)
        for block in self.blocks:
            x = block(x)
        x = self.narrow(self.norm(x))
        tokens = self.mask_token.expand(batch, length - num_kept, -1).to(x.dtype)
        tokens = torch.cat([x[:, 1:], tokens], dim=1).gather(1, back[..., None].expand(-1, -1, x.shape[-1]))
        x = torch.cat([x[:, :1], tokens + self.decoder_places], dim=1)
        for block in self.decoder:
            x = block(x)
        answers = self.head(self.decoder_norm(x))[:, 1:]
        target = image.view(batch, 64, 16, 8, 16).transpose(2, 3).reshape(batch, length, 256)
        target = (target - target.mean(-1, keepdim=True)) / (target.var(-1, keepdim=True) + 1e-6).sqrt()
        return ((answers - target).square().mean(-1) * hidden).sum() / hidden.sum()


class PlainBlock(nn.Module):
    """A block as timm has it, with names of ours."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = nn.Module()
        self.attn.qkv = nn.Linear(width, 3 * width)
        self.attn.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Module()
        self.mlp.fc1 = nn.Linear(width, 4 * width)
        self.mlp.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        qkv = self.attn.qkv(self.norm1(x)).view(batch, length, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(*qkv)
        x = x + self.attn.proj(attended.transpose(1, 2).reshape(batch, length, width))
        return x + self.mlp.fc2(F.gelu(self.mlp.fc1(self.norm2(x))))


if __name__ == "__main__":
    main()
