"""Clusters beside scikit-learn's, cepstra beside torchaudio's; codebooks in files; the head written out."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.metrics import adjusted_rand_score
from torchaudio.compliance import kaldi
from torchaudio.functional import compute_deltas

from unmask import Latent, Mask, Sequence, Tokens
from unmask.api import UserError
from unmask.losses import CrossEntropyLoss
from unmask_audio.encoders.speech import SpeechEncoder
from unmask_audio.speech import WaveTokenizer, kmeans
from unmask_audio.speech.cluster_head import ClusterHead
from unmask_audio.speech.clusters import ClusterTarget
from unmask_audio.speech.sources import Cepstra, LayerCodes


def blobs(num=3000, num_blobs=12, width=6, seed=0):
    """Points around centres far from each other, and which centre each is of."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(num_blobs, width)) * 6
    owner = rng.integers(num_blobs, size=num)
    return (centres[owner] + rng.normal(size=(num, width))).astype(np.float32), owner


def batches(points, size=117):
    return (torch.from_numpy(points[start : start + size]) for start in range(0, len(points), size))


def test_the_stream_is_scikit_learns_partial_fit(monkeypatch):
    """In chunks of its own size, whatever the batches are."""
    points, _ = blobs()
    monkeypatch.setattr(kmeans, "CHUNK", 500)
    told = []
    found = kmeans.fit_codebooks(batches(points), [12, 5], 2400, 3, told.append)
    assert told == [500, 1000, 1500, 2000, 2500]
    for number, (count, centres) in enumerate(zip([12, 5], found, strict=True)):
        theirs = MiniBatchKMeans(count, random_state=3 + number, init_size=500, reassignment_ratio=0)
        for start in range(0, 2500, 500):
            theirs.partial_fit(points[start : start + 500])
        np.testing.assert_allclose(centres.numpy(), theirs.cluster_centers_, rtol=1e-5, atol=1e-5)

        ids = kmeans.nearest_centres(torch.from_numpy(points), centres[None], torch.tensor([count]))
        assert np.array_equal(ids[:, 0].numpy(), theirs.predict(points))


def test_the_stream_is_about_as_good_as_all_at_once():
    points, owner = blobs(num_blobs=5)
    (centres,) = kmeans.fit_codebooks(batches(points), [5], 3000, 0)
    ids = kmeans.nearest_centres(torch.from_numpy(points), centres[None], torch.tensor([5]))[:, 0].numpy()
    whole = KMeans(5, n_init=5, random_state=0).fit(points)
    inertia = np.square(points - centres.numpy()[ids]).sum()
    assert inertia < 1.05 * whole.inertia_
    assert adjusted_rand_score(owner, ids) > 0.99


def test_ids_of_several_codebooks_are_the_nearest_real_centres():
    rng = torch.Generator().manual_seed(0)
    features, centres = torch.randn(2, 9, 4, generator=rng), torch.randn(3, 7, 4, generator=rng)
    counts = torch.tensor([7, 2, 5])
    ids = kmeans.nearest_centres(features, centres, counts)
    for book, count in enumerate(counts.tolist()):
        expected = torch.cdist(features, centres[book, :count].expand(2, -1, -1)).argmin(-1)
        assert torch.equal(ids[..., book], expected)


def test_too_few_frames_are_refused(monkeypatch):
    points = blobs(300)[0]
    monkeypatch.setattr(kmeans, "CHUNK", 100)
    with pytest.raises(ValueError, match="`num_frames` must be at most 300, whole chunks of 100 frames, but is 301"):
        kmeans.fit_codebooks(batches(points), [3], 301, 0)
    with pytest.raises(ValueError, match="`num_frames` must be at least 12, the clusters, but is 10"):
        kmeans.fit_codebooks(batches(points), [5, 12], 10, 0)
    with pytest.raises(ValueError, match="must be finite"):
        kmeans.fit_codebooks(batches(np.full((100, 3), np.nan, np.float32)), [5], 100, 0)


def test_cepstra_are_those_of_the_release(clips):
    """Kaldi's, with slopes of slopes, every 10 ms; a token has those of its own window; padding does not matter."""
    batch = clips()
    tokens = WaveTokenizer(normalize=False)(batch)
    found = Cepstra(WaveTokenizer())(tokens)
    assert found.shape == (3, 31, 39)
    for row, length in enumerate(batch["length"].tolist()):
        wave = batch["wave"][row : row + 1, :length]
        cepstra = kaldi.mfcc(wave, sample_frequency=16_000, use_energy=False, dither=0.0).T
        first = compute_deltas(cepstra)
        expected = torch.cat([cepstra, first, compute_deltas(first)]).T[::2]
        torch.testing.assert_close(found[row, : len(expected)], expected, rtol=1e-4, atol=2e-3)


def test_codes_of_a_layer_are_frozen(settings, clips):
    encoder = SpeechEncoder(settings(layerdrop=0.9, hidden_dropout=0.5))
    source = LayerCodes(encoder, 2).train()
    tokens = WaveTokenizer()(clips())
    assert torch.equal(source(tokens), encoder.eval()(tokens, layer=2).values)
    assert not any(parameter.requires_grad for parameter in source.parameters())
    before = source.fingerprint()
    assert before == LayerCodes(encoder, 2).fingerprint() != LayerCodes(encoder, 1).fingerprint()
    encoder.model.masked_spec_embed.data += 1
    assert source.fingerprint() != before
    with pytest.raises(ValueError, match=r"`layer` must be in \[1, 3\]"):
        LayerCodes(encoder, 4)


def fitted(num_clusters=(4, 7), seed=0, tokenizer=None):
    target = ClusterTarget(Cepstra(tokenizer or WaveTokenizer()), num_clusters)
    wave = torch.randn(4, 4000, generator=torch.Generator().manual_seed(seed))
    tokens = WaveTokenizer()({"wave": wave, "length": torch.tensor([4000, 3000, 4000, 900])})
    passes = []

    def stream():
        passes.append(1)
        return iter([tokens])

    target.fit(stream, 60, 0, lambda done: None)
    return target, tokens, len(passes)


def test_clusters_are_of_real_frames_read_as_often_as_needed():
    target, tokens, num_passes = fitted()
    assert num_passes == -(-60 // int(tokens.valid.sum()))
    features = target.source(tokens)[tokens.valid]
    points = torch.cat([features] * num_passes)[:60].numpy()
    theirs = MiniBatchKMeans(7, random_state=1, init_size=60, reassignment_ratio=0).partial_fit(points)
    np.testing.assert_allclose(target.centres[1].numpy(), theirs.cluster_centers_, rtol=1e-4, atol=1e-4)
    hidden = torch.zeros_like(tokens.valid)
    hidden[:, 1:3] = True
    ids = target(tokens, Mask(hidden, valid=tokens.valid))
    assert ids.shape == (4, 2, 2)
    assert np.array_equal(ids[0, 1].numpy(), theirs.predict(target.source(tokens)[0, 1:3].numpy()))


def test_nothing_is_named_before_clusters_are_found(clips):
    target = ClusterTarget(Cepstra(WaveTokenizer()), [5])
    tokens = WaveTokenizer()(clips(ragged=False))
    with pytest.raises(ValueError, match="`unmask fit` does so"):
        target.ids(tokens)
    with pytest.raises(ValueError, match="`num_frames` must be at most 0"):
        target.fit(lambda: iter(()), 10, 0, lambda done: None)
    with pytest.raises(ValueError, match=r"`num_clusters` must be in \[2, 10000\], but is \[5, 1\]"):
        ClusterTarget(Cepstra(WaveTokenizer()), [5, 1])
    with pytest.raises(ValueError, match="`hop` must be even"):
        Cepstra(WaveTokenizer(hop=321))


def test_a_codebook_travels_in_a_file(tmp_path):
    first, tokens, _ = fitted()
    path = tmp_path / "made" / "codebook.safetensors"
    first.save(path)
    assert [one.name for one in path.parent.iterdir()] == ["codebook.safetensors"]
    again = ClusterTarget(Cepstra(WaveTokenizer()), (4, 7))
    again.read(path)
    assert torch.equal(again.ids(tokens), first.ids(tokens))
    assert torch.equal(again.centres, first.centres)
    for other in (
        ClusterTarget(Cepstra(WaveTokenizer()), (7, 4)),
        ClusterTarget(Cepstra(WaveTokenizer(sample_rate=8000)), (4, 7)),
    ):
        with pytest.raises(UserError, match="give another path, or delete it"):
            other.read(path)
        assert not other.fitted
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(UserError, match="cannot be read"):
        again.read(path)


@pytest.mark.parametrize("counts", [[5, 3], [5]], ids=str)
def test_head_and_loss_written_out(counts):
    torch.manual_seed(0)
    head = ClusterHead(8, counts, width=6, temperature=0.2)
    codes, hidden = torch.randn(2, 4, 8), torch.tensor([[1, 1, 0, 0], [0, 1, 1, 0]]).bool()
    places = Tokens(None, Sequence())
    several = len(counts) > 1
    mask = Mask(hidden)
    prediction = head(Latent(codes), places, mask)
    assert prediction.values.shape == ((2, 2, 2, 5) if several else (2, 2, 5))
    groups = prediction.asked.index if several else prediction.asked.index[:, None]  # [B, C, M]
    assert groups.tolist() == [[[0, 1]] * len(counts), [[1, 2]] * len(counts)]
    target = torch.tensor([[[4, 2], [0, 2]], [[0, 1], [1, 2]]])  # [B, C, M]
    total = 0.0
    for row, place, ids in ((0, 0, [4, 0]), (0, 1, [2, 2]), (1, 1, [0, 1]), (1, 2, [1, 2])):
        projected = head.proj(codes[row, place]).view(-1, 6)
        for book, (count, right) in enumerate(zip(counts, ids, strict=False)):
            cosines = F.cosine_similarity(projected[book], head.embeddings[book, :count], dim=-1)
            total = total + F.cross_entropy(cosines / 0.2, torch.tensor(right))
    loss = CrossEntropyLoss()(prediction, target if several else target[:, 0])
    torch.testing.assert_close(loss.total, total / 4 / len(counts))
    loss.total.backward()
    assert bool(head.embeddings.grad.isfinite().all())
    assert head.embeddings.grad[1:, 3:].abs().sum() == 0  # those that fill up the smaller codebook

    with pytest.raises(ValueError, match="ClusterHead needs a code at every place"):
        head(Latent(codes, mask.seen), places, mask)
    with pytest.raises(ValueError, match="`temperature` must be above 0, but is 0"):
        ClusterHead(8, [5], temperature=0)
