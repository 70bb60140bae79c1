"""Part segmentation: codes of points, labels that move with them, and intersection over union."""

import numpy as np
import pytest
import torch
from sklearn.metrics import jaccard_score

from unmask.api import CLASSIFICATION, IGNORED, Classification, Settings, Task, finetune
from unmask.data import UNREADABLE, Findings
from unmask_pointcloud.data import NpzCloudsData, PointCloudFilesData
from unmask_pointcloud.data.clouds import normalized
from unmask_pointcloud.data.report import HOLED
from unmask_pointcloud.encoders import PointTransformer
from unmask_pointcloud.methods import DVAE, PointMAE
from unmask_pointcloud.segmentation import PartLabels, Pointwise, mean_iou
from unmask_pointcloud.segmentation.labelling import labelled
from unmask_pointcloud.segmentation.pointwise import interpolated


def clouds(batch=2, num_points=60, seed=0):
    return torch.randn(batch, num_points, 3, generator=torch.Generator().manual_seed(seed))


def small(**options):
    torch.manual_seed(0)
    encoder = PointTransformer(16, 3, 2, pointnet_width=8, drop_path_ratio=0.0, **options)
    return PointMAE(num_patches=8, patch_size=6, encoder=encoder)


def test_codes_between_centres_by_hand():
    """On a line, at distances 1, 2 and 4 of three centres; on a centre; between two of which one is padding."""
    centres = torch.tensor([[[0.0, 0, 0], [3, 0, 0], [5, 0, 0], [90, 0, 0]]])
    codes = torch.tensor([[[1.0], [10.0], [100.0], [1000.0]]])
    points = torch.tensor([[[1.0, 0, 0], [3, 0, 0], [2, 0, 0]]])
    found = interpolated(points, centres, codes)[0, :, 0]
    weights = np.array([1, 1 / 4, 1 / 16])
    assert found[0].item() == pytest.approx(weights @ [1, 10, 100] / weights.sum(), rel=1e-6)
    assert found[1].item() == pytest.approx(10, rel=1e-6)
    real = torch.tensor([[True, False, True, False]])
    found = interpolated(points, centres, codes, torch.tensor([[True, False, True]]), real)[0, :, 0]
    weights = np.array([1 / 4, 1 / 9])
    assert found.tolist() == pytest.approx([(1 + 100 / 16) / (1 + 1 / 16), 0, weights @ [1, 100] / weights.sum()])


@pytest.mark.parametrize("class_token", [False, True])
def test_a_point_has_codes_of_three_depths_of_the_whole_cloud_and_of_its_place(class_token):
    model = small(class_token=class_token).eval()
    points = clouds()
    view = Pointwise(model)
    codes = view.embed({"points": points}).values
    assert codes.shape == (2, 60, view.embedder.width) == (2, 60, 5 * 16 + 3)
    patches = model.tokenizer({"points": points})
    for place, layer in enumerate((1, 2, 3)):
        own = model.encoder.trunk.norm(model.encoder(patches, None, layer).values)
        mixed = interpolated(points, patches.positions, own)
        assert torch.allclose(codes[..., 16 * place : 16 * (place + 1)], mixed, atol=1e-5)
    last = model.encoder(patches).values
    assert torch.allclose(codes[..., 48:64], last.amax(1)[:, None].expand(-1, 60, -1), atol=1e-5)
    assert torch.allclose(codes[..., 64:80], last.mean(1)[:, None].expand(-1, 60, -1), atol=1e-5)
    assert torch.equal(codes[..., 80:], points)


def test_padding_changes_no_code():
    view = Pointwise(small().eval())
    points = clouds(1, 20)
    padded = torch.cat([points, torch.full((1, 9, 3), 7.0)], dim=1)
    batch = {"points": padded, "valid": torch.arange(29)[None] < 20}
    alone, beside = (view.embed(one).values for one in ({"points": points}, batch))
    assert torch.allclose(alone, beside[:, :20], atol=1e-5)


def test_iou_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    label, cloud = rng.integers(0, 4, 600), rng.integers(5, 12, 600)
    answer = np.where(rng.random(600) < 0.6, label, rng.integers(0, 4, 600))
    found = mean_iou(label, answer, cloud)
    assert found.classes == pytest.approx(jaccard_score(label, answer, average="macro"))
    each = [jaccard_score(label[cloud == one], answer[cloud == one], average="macro") for one in np.unique(cloud)]
    assert found.clouds == pytest.approx(np.mean(each))


def test_iou_by_hand_with_classes_that_are_not_there():
    label, answer = np.array([0, 0, 3, 3, 3]), np.array([0, 3, 3, 3, 3])
    found = mean_iou(label, answer, np.array([7, 7, 7, 9, 9]))
    assert found.classes == pytest.approx((1 / 2 + 3 / 4) / 2)  # classes 1 and 2 are nowhere
    assert found.clouds == pytest.approx(((1 / 2 + 1 / 2) / 2 + 1) / 2)
    with pytest.raises(ValueError, match="one entry per point, but have 2, 1 and 2"):
        mean_iou(label[:2], answer[:1], label[:2])


def _archive(path, sizes=(40, 40, 40, 40, 40, 40), parts=True):
    """Clouds whose points' classes are told by the sign of y, and by padding that is none."""
    rng = np.random.default_rng(0)
    points = rng.standard_normal((len(sizes), 40, 3)).astype(np.float32)
    for row, size in enumerate(sizes):
        points[row, size:] = np.nan  # left out as not finite
    arrays = {"points": points, "label": np.arange(len(sizes)) % 2}
    np.savez(path, **arrays, **({"part": (points[..., 1] > 0).astype(np.int64)} if parts else {}))
    return str(path)


def test_labels_move_with_their_points(tmp_path):
    """Drawn anew, turned over and padded, a point above is still labelled as above."""
    data = NpzCloudsData(
        _archive(tmp_path / "a.npz", (40, 30, 20, 40, 40, 40)), num_points=36, stored_points=40, normalize="none",
        augment=("scale-translate",), batch_size=2, val_ratio=0.3,
    )  # fmt: skip
    data.augmentations = [lambda sample: sample | {"points": sample["points"] * torch.tensor([1.0, 2.0, 1.0])}]
    labels = PartLabels(data)
    train = labels.splits.probe_train
    assert len(train) + len(labels.splits.probe_test) == 6
    torch.manual_seed(0)
    for sample in train:
        moved = labels.augment(dict(sample))
        assert set(moved) == {"points", "label", "valid", "name"}
        for one in (sample, moved):
            real = one["valid"]
            assert torch.equal(one["label"][real], (one["points"][real, 1] > 0).long())
            assert (one["label"][~real] == IGNORED).all() and (one["points"][~real] == 0).all()
        assert int(moved["valid"].sum()) == int(sample["valid"].sum())
        assert not torch.equal(sample["label"], moved["label"])


def test_it_learns_what_is_above(tmp_path):
    """A few steps tell the sign of y, which each point's own code knows."""
    path = _archive(tmp_path / "c.npz", (40,) * 40)
    data = NpzCloudsData(path, num_points=40, stored_points=40, batch_size=8, augment=())
    settings = Settings(epochs=20, batch_size=8, head="mlp", lr=3e-2, val_ratio=0.0)
    result = finetune(PartLabels(data), scratch=lambda seed: Pointwise(_seeded(seed)), settings=settings)
    assert result.details["task"] == {"kind": "classification", "per_token": True}
    (accuracy,) = (row.cells["from scratch"].mean for row in result.rows if row.name == "accuracy")
    assert accuracy > 0.75  # by chance 0.5


def _seeded(seed):
    torch.manual_seed(seed)
    return PointMAE(
        num_patches=8, patch_size=16, encoder=PointTransformer(16, 2, 2, pointnet_width=8, drop_path_ratio=0.0)
    )


def test_what_cannot_be_segmented_is_refused(tmp_path):
    with pytest.raises(ValueError, match="must be a PointTransformer to segment, but is a DVAEEncoder"):
        Pointwise(DVAE(num_patches=8, patch_size=8, num_codes=8, width=8, hidden_width=4))
    data = NpzCloudsData(_archive(tmp_path / "b.npz", parts=False), num_points=20, stored_points=40, batch_size=2)
    with pytest.raises(ValueError, match=r"needs classes of points \(`part`\), but the clouds have none"):
        _ = PartLabels(data).splits
    view = Pointwise(small())
    with pytest.raises(ValueError, match="must see every point"):
        view.embedder.encoder(view.embedder.tokenizer({"points": clouds()}), object())


class Sides(torch.nn.Module):
    """Stands for a tuned model: two classes whose outputs are the x and the y of each point, as it is scaled."""

    task = Task(CLASSIFICATION, per_token=True)
    objective = Classification(2)

    def __init__(self):
        super().__init__()
        self.sizes = []

    def forward(self, batch):
        self.sizes.append(tuple(batch["points"].shape))
        return batch["points"][..., :2]


@pytest.mark.parametrize("total", [20, 50, 7])
def test_every_point_of_new_files_is_labelled_by_what_is_said_of_itself(total, tmp_path):
    rng = np.random.default_rng(total)
    points = rng.normal(size=(total + 1, 3)) * [5, 3, 1] + [4e6, 5e6, 100]
    points[2] = np.nan
    np.save(tmp_path / "scan.npy", points)
    data = PointCloudFilesData(str(tmp_path), num_points=20, stored_points=20)
    model, findings = Sides(), Findings()
    (found,) = labelled(model, data, tmp_path / "scan.npy", findings, batch_size=2)
    finite = np.delete(points, 2, 0)
    expected = torch.from_numpy(normalized(finite, "sphere"))[:, :2].softmax(-1).numpy()
    assert np.allclose(found.shares, expected, atol=1e-6)
    assert np.array_equal(found.places, finite) and found.number.tolist() == [0, 1, *range(3, total + 1)]
    assert model.sizes == {20: [(1, 20, 3)], 50: [(2, 20, 3), (1, 20, 3)], 7: [(1, 20, 3)]}[total]
    assert list(findings.lines()) == [f"1 {HOLED}: scan.npy (1 of them)."]


def test_answers_that_are_not_finite_are_refused(tmp_path):
    np.save(tmp_path / "scan.npy", np.random.default_rng(0).normal(size=(30, 3)))
    model = Sides()
    model.forward = lambda batch: batch["points"][..., :2] * float("nan")
    with pytest.raises(ValueError, match=r"Answers must be finite, but those of scan\.npy"):
        list(labelled(model, PointCloudFilesData(str(tmp_path), num_points=20), tmp_path / "scan.npy", Findings()))


def test_a_scan_is_labelled_crop_by_crop(tmp_path):
    points = np.random.default_rng(0).uniform(0, 2, (64, 3))
    (tmp_path / "new").mkdir()
    np.save(tmp_path / "new" / "a.npy", points)
    (tmp_path / "new" / "b.npy").write_bytes(b"damaged")
    data = PointCloudFilesData(str(tmp_path / "new"), num_points=8, stored_points=8, points_per_crop=16)
    findings = Findings()
    (found,) = labelled(Sides(), data, tmp_path / "new", findings)
    assert found.name == "a.npy" and found.number.tolist() == list(range(64))
    assert np.array_equal(found.places, points)
    crops = data.source.pieces(points, "a.npy", Findings())
    assert [len(rows) for rows in crops] == [16] * 4
    for rows in crops:
        own = torch.from_numpy(normalized(points[rows], "sphere"))[:, :2].softmax(-1).numpy()
        assert np.allclose(found.shares[rows], own, atol=1e-6)
    assert findings.named(UNREADABLE).startswith("b.npy (")
