"""Protocols against values worked out by hand and against plain loops."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.svm import SVC

from unmask.api import PRETRAINED, RAW, STATISTICS, UNTRAINED, main
from unmask_graph.data.files import GraphFilesData
from unmask_graph.data.links import LinkData
from unmask_graph.data.tu import TUData
from unmask_graph.evaluate.graphs import pooled, svm_probe
from unmask_graph.evaluate.links import Links, LinkSplit, dot_scores, fitted_scores, split_links
from unmask_graph.evaluate.measure import BEST, LAST, measure
from unmask_graph.evaluate.nodes import Fit, linear_probe
from unmask_graph.methods.graphmae import GraphMAE


def rows(seed, num, width=5, num_classes=3, spread=1.0):
    rng = np.random.default_rng(seed)
    labels = np.arange(num) % num_classes
    centres = np.random.default_rng(0).normal(size=(num_classes, width))
    return (centres[labels] + spread * rng.normal(size=(num, width))).astype(np.float32), labels


# Nodes


def test_linear_probe_is_full_batch_adam_with_an_l2_penalty():
    """Against Adam written out, from the same initial weights."""
    train, val, test = rows(1, 12), rows(2, 30), rows(3, 60)
    found = linear_probe(train, test, val, seed=4, fit=Fit(lr=0.05, weight_decay=0.01, epochs=25))

    from unmask import seeds

    with seeds.seeded(4, "node-probe"):
        layer = torch.nn.Linear(5, 3)
    weights = torch.cat([layer.weight, layer.bias[:, None]], 1).detach().double().numpy()  # [C, D + 1]

    def with_ones(codes):
        return np.concatenate([codes, np.ones((len(codes), 1))], 1)

    def accuracy(of):
        return np.mean((with_ones(of[0]) @ weights.T).argmax(1) == of[1])

    first = second = np.zeros_like(weights)
    by_epoch = []
    for step in range(1, 26):
        logits = with_ones(train[0]) @ weights.T
        share = np.exp(logits - logits.max(1, keepdims=True))
        share /= share.sum(1, keepdims=True)
        gradient = (share - np.eye(3)[train[1]]).T @ with_ones(train[0]) / len(train[1]) + 0.01 * weights
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        weights = weights - 0.05 * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
        by_epoch.append((accuracy(val), accuracy(test)))
    best = max(range(25), key=lambda epoch: (by_epoch[epoch][0], epoch))  # the latest of several
    assert found.last == pytest.approx(by_epoch[-1][1])
    assert found.epoch == best + 1
    assert found.best == pytest.approx(by_epoch[best][1])
    assert len({test for _, test in by_epoch}) > 2, "an epoch must matter, or the test shows nothing"


def test_linear_probe_never_fits_on_validation_or_test_and_leaves_the_generator_alone():
    train, val, test = rows(1, 12), rows(2, 30), rows(3, 60)
    state = torch.get_rng_state()
    found = linear_probe(train, test, val)
    assert torch.equal(state, torch.get_rng_state())
    assert linear_probe(train, test).last == found.last
    assert linear_probe(train, test).best is None
    shuffled = (test[0], (test[1] + 1) % 3)
    assert linear_probe(train, shuffled, val).epoch == found.epoch
    assert linear_probe(train, shuffled, val).last < 0.5 < found.last


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": rows(1, 6, num_classes=1)}, "at least 2 classes"),
        ({"test": (np.zeros((0, 5)), np.zeros(0, int))}, "`test` must have at least one labelled node"),
        ({"train": (np.full((6, 5), np.nan), np.arange(6))}, "`train` must be finite"),
        ({"val": (np.zeros((6, 5)), np.zeros((6, 2), int))}, "one class id each"),
    ],
)
def test_linear_probe_refuses(change, message):
    with pytest.raises(ValueError, match=message):
        linear_probe(**({"train": rows(1, 12), "test": rows(2, 12)} | change))


def test_how_the_linear_layer_is_fitted_is_checked_and_said():
    for options, told in (
        ({"epochs": 0}, "`epochs` must be at least 1, but is 0"),
        ({"lr": 0.0}, "`lr` must be above 0, but is 0"),
        ({"weight_decay": -1.0}, "`weight_decay` must be at least 0, but is -1"),
        ({"weight_decay": float("nan")}, "`weight_decay` must be at least 0, but is nan"),
    ):
        with pytest.raises(ValueError, match=told):
            Fit(**options)
    assert str(Fit()) == "Adam 0.01, decay 0.0001, 300 full-batch epochs"
    train, test = rows(1, 12), rows(3, 60, spread=2.0)
    assert linear_probe(train, test, fit=Fit(epochs=1)).last != linear_probe(train, test).last


# Graphs


def test_pooling_by_hand():
    codes = torch.tensor([[1.0, -2.0], [3.0, 4.0], [5.0, 0.0]])
    offsets = torch.tensor([0, 2, 3])
    assert pooled(codes, offsets, "sum").tolist() == [[4, 2], [5, 0]]
    assert pooled(codes, offsets, "mean").tolist() == [[2, 1], [5, 0]]
    assert pooled(codes, offsets, "max").tolist() == [[3, 4], [5, 0]]
    with pytest.raises(ValueError, match=r"`pool` must be one of .* but is `maxx`; nearest: `max`"):
        pooled(codes, offsets, "maxx")
    with pytest.raises(ValueError, match="at least 1 node"):
        pooled(codes, torch.tensor([0, 3, 3]), "sum")


def test_svm_probe_is_the_authors_loop():
    vectors, labels = rows(5, 60, width=4, num_classes=2, spread=1.5)
    found = svm_probe({"raw": vectors[:, :1], "codes": vectors}, labels)

    expected = []
    for fit, held in StratifiedKFold(10, shuffle=True, random_state=0).split(vectors, labels):
        machine = GridSearchCV(SVC(), {"C": [1e-3, 1e-2, 1e-1, 1, 10]}).fit(vectors[fit], labels[fit])
        expected.append(machine.score(vectors[held], labels[held]))
    assert found.rows[0].cells["codes"].scores == pytest.approx(expected)
    assert 0.5 < np.mean(expected) < 1
    assert found.columns == ["raw", "codes"]
    with pytest.raises(ValueError, match="`num_folds` must be at most 5"):
        svm_probe({"codes": vectors[:10]}, labels[:10])


# Links


def ring(num_nodes):
    """Every node tied to the next: both directions, a self-loop at 0 and a duplicate edge."""
    here = torch.arange(num_nodes)
    one = torch.stack([here, (here + 1) % num_nodes])
    return torch.cat([one, one.flip(0), torch.tensor([[0, 0], [0, 1]])], 1)


def test_links_are_split_without_leaks():
    edges = ring(100)
    split = split_links(edges, 100, val_ratio=0.1, test_ratio=0.2, seed=1)
    parts = [{frozenset(pair) for pair in links.ends[:, links.edge].T.tolist()} for links in split[1:]]
    others = [{frozenset(pair) for pair in links.ends[:, ~links.edge].T.tolist()} for links in split[1:]]
    everything = {frozenset((node, (node + 1) % 100)) for node in range(100)}
    assert [len(part) for part in parts] == [len(part) for part in others] == [70, 10, 20]
    assert set.union(*parts) == everything
    assert len(set.union(*others)) == 100
    assert not set.union(*others) & everything
    seen = [tuple(pair) for pair in edges[:, split.seen].T.tolist()]
    assert {frozenset(pair) for pair in seen} - {frozenset([0])} == parts[0]
    assert (0, 0) in seen
    assert len(seen) == 2 * 70 + 1 + (frozenset((0, 1)) in parts[0])
    assert torch.equal(split_links(edges, 100, 0.1, 0.2, seed=1).test.ends, split.test.ends)
    assert not torch.equal(split_links(edges, 100, 0.1, 0.2, seed=2).test.ends, split.test.ends)


def test_directed_edges_are_taken_out_once_and_whole():
    one_way = ring(50)[:, :50]
    split = split_links(one_way, 50, 0.2, 0.2)
    held = {frozenset(pair) for links in (split.val, split.test) for pair in links.ends[:, links.edge].T.tolist()}
    assert len(held) == 20
    seen = one_way[:, split.seen]
    assert seen.shape == (2, 30)
    assert not held & {frozenset(pair) for pair in seen.T.tolist()}


def test_dot_scores_by_hand():
    """Scores 6 and 1 of edges, 2 and 0 of non-edges: three of four pairs in order; precision (1 + 2/3) / 2."""
    codes = torch.tensor([[2.0, 0.0], [3.0, 0.0], [0.5, 0.0], [1.0, 0.0], [0.0, 1.0]])
    ends = torch.tensor([[0, 0, 0, 0], [1, 2, 3, 4]])
    found = dot_scores(codes, Links(ends, torch.tensor([True, True, False, False])))
    assert found.auc == pytest.approx(0.75)
    assert found.ap == pytest.approx((1 + 2 / 3) / 2)


def test_fitted_scores_find_the_telling_side_and_choose_by_validation_alone():
    """One side of the codes tells communities, a larger one does not: a dot product is misled, a fit is not."""
    generator = torch.Generator().manual_seed(0)
    side = torch.arange(200) % 2
    within = torch.randint(100, (2, 1500), generator=generator) * 2 + torch.randint(2, (1500,), generator=generator)
    edges = within[:, within[0] != within[1]]
    codes = torch.stack([2.0 * side - 1, 3 * torch.randn(200, generator=generator)], 1)
    split = split_links(edges, 200, 0.1, 0.2)
    fitted, dot = fitted_scores(codes, split), dot_scores(codes, split.test)
    alike = (side[split.test.ends[0]] == side[split.test.ends[1]]).numpy()
    assert fitted.auc == pytest.approx(roc_auc_score(split.test.edge, alike), abs=0.03)
    assert fitted.ap == pytest.approx(average_precision_score(split.test.edge, alike), abs=0.05)
    assert dot.auc < fitted.auc - 0.05

    turned = LinkSplit(split.seen, split.train, split.val, Links(split.test.ends, ~split.test.edge))
    assert fitted_scores(codes, turned).auc == pytest.approx(1 - fitted.auc)


@pytest.mark.parametrize(
    ("edges", "num_nodes", "ratios", "message"),
    [
        (ring(100), 100, (0.0, 0.1), "`val_ratio` must be in"),
        (ring(100), 100, (0.5, 0.5), "sum to less than 1, but sum to 1"),
        (ring(5), 5, (0.05, 0.1), "edges enough"),
        (
            torch.combinations(torch.arange(30)).T,
            30,
            (0.05, 0.1),
            "435 pairs of nodes that are no edges, but there are 0",
        ),
    ],
)
def test_links_refuse(edges, num_nodes, ratios, message):
    with pytest.raises(ValueError, match=message):
        split_links(edges, num_nodes, *ratios)


# A run, in columns


@pytest.fixture(scope="module")
def cliques(tmp_path_factory):
    """Two communities with features that hardly tell them, as tables of edges and nodes."""
    folder = tmp_path_factory.mktemp("cliques")
    rng = np.random.default_rng(0)
    side = np.arange(120) % 2
    x = rng.normal(size=(120, 6)) + 0.3 * side[:, None]
    edges = [(i, j) for i in range(120) for j in range(i) if rng.random() < (0.15 if side[i] == side[j] else 0.01)]
    names = ",".join(f"f{i}" for i in range(6))
    nodes = [
        f"{i},{side[i]},{'train' if i < 20 else 'val' if i < 50 else 'test'},{','.join(map(str, x[i]))}"
        for i in range(120)
    ]
    (folder / "nodes.csv").write_text("\n".join([f"id,label,split,{names}", *nodes]))
    (folder / "edges.csv").write_text("\n".join(["source,target", *(f"{i},{j}" for i, j in edges)]))
    return {"paths": str(folder / "edges.csv"), "nodes": str(folder / "nodes.csv")}


def test_nodes_of_a_run_in_columns(cliques):
    data = GraphFilesData(**cliques)
    torch.manual_seed(0)
    model = GraphMAE(num_features=6, kind="gin", width=16)
    untrained, before = copy.deepcopy(model), copy.deepcopy(model.state_dict())
    result = measure(model, untrained, data, "nodes")
    assert result.columns == [RAW, UNTRAINED, STATISTICS, PRETRAINED]
    assert [row.name for row in result.rows] == [LAST, BEST]
    assert [result.details[name] for name in ("num_train", "num_test", "num_classes")] == [20, 70, 2]
    assert result.rows[0].cells[UNTRAINED].scores == result.rows[0].cells[PRETRAINED].scores, "they are one model"
    assert result.rows[0].cells[STATISTICS].scores != result.rows[0].cells[UNTRAINED].scores
    assert result.rows[0].cells[RAW].mean < result.rows[0].cells[STATISTICS].mean
    for one in (model, untrained):
        assert all(torch.equal(value, before[name]) for name, value in one.state_dict().items())

    sample, masks = data.graphs.samples[0], data.graphs.masks
    parts = {name: (sample["x"][of].numpy(), sample["label"][of].numpy()) for name, of in masks.items()}
    assert result.rows[0].cells[RAW].mean == linear_probe(**parts).last
    assert result.rows[1].cells[RAW].mean == linear_probe(**parts).best


def test_links_of_a_run_are_unseen(cliques):
    data = LinkData(GraphFilesData(**cliques), 0.1, 0.2)
    torch.manual_seed(0)
    model = GraphMAE(num_features=6, kind="gat", width=16)
    result = measure(model, copy.deepcopy(model), data, "links")
    assert result.columns == [RAW, UNTRAINED, PRETRAINED]
    codes = data.graphs.samples[0]["x"]
    assert result.rows[0].cells[RAW].scores == [dot_scores(codes, data.split.test).auc]
    assert result.rows[3].cells[RAW].scores == [fitted_scores(codes, data.split).ap]
    for split in data.splits[:2]:
        seen = {frozenset(pair) for pair in split[0]["edges"].T.tolist()}
        held = {frozenset(pair) for pair in data.split.test.ends.T.tolist()}
        assert not seen & held
    num_pairs = data.data.graphs.samples[0]["edges"].shape[1] // 2
    assert len(held) == 2 * int(0.2 * num_pairs)
    with pytest.raises(ValueError, match=r"must be graph.links for the task `links`"):
        measure(model, model, data.data, "links")


def test_graphs_of_a_run_in_columns():
    data = TUData(str(Path(__file__).with_name("rings_and_trees.txt")), val_ratio=0.25)
    torch.manual_seed(0)
    model = GraphMAE(num_features=data.num_features, kind="gin", width=8)
    for pool in ("mean",):
        result = measure(model, copy.deepcopy(model), data, "graphs", pool=pool)
        assert result.columns == [RAW, UNTRAINED, STATISTICS, PRETRAINED]
        probes = data.splits[2:]
        samples = [one for part in probes if part is not None for one in (part[i] for i in range(len(part)))]
        assert len(samples) == len(data.graphs.samples)
        raw = np.stack([getattr(one["x"], pool)(0).numpy() for one in samples])
        labels = np.array([one["label"] for one in samples])
        assert result.rows[0].cells[RAW].scores == svm_probe({RAW: raw}, labels).rows[0].cells[RAW].scores
    with pytest.raises(ValueError, match="labels of nodes for the task `nodes`, but has those of graphs"):
        measure(model, model, data, "nodes")


def test_the_command(cliques, tmp_path, capsys):
    config = {
        "model": {"class_path": "graph.graphmae", "init_args": {"num_features": 6, "width": 16}},
        "data": {
            "class_path": "graph.links",
            "init_args": {"data": {"class_path": "graph.files", "init_args": cliques}},
        },
        "trainer": {"max_steps": 2, "accelerator": "cpu"},
    }
    (tmp_path / "config.yaml").write_text(json.dumps(config))
    run = str(tmp_path / "run")
    assert main(["fit", "--config", str(tmp_path / "config.yaml"), "--out", run]) == 0
    capsys.readouterr()
    assert main(["graph-probe", run]) == 0
    shown = capsys.readouterr().out
    assert "dot product, AUC" in shown
    assert "half of them edges that no encoder has seen" in shown
    content = json.loads((tmp_path / "run" / "graph-probe.json").read_text())
    assert content["task"] == "links"
    assert len(content["rows"]) == 4
    assert 0 < content["rows"][0]["mean"][PRETRAINED] < 1

    capsys.readouterr()
    assert main(["graph-probe", run, "--task", "links", "--lr", "1"]) == 2
    assert "`--lr` must be left out for the task `links`, but is given" in capsys.readouterr().err
    assert main(["graph-probe", run, "--task", "graph"]) == 2
    assert "`--task` must be one of nodes, graphs, links, but is `graph`; nearest: `graphs`" in capsys.readouterr().err
    assert main(["graph-probe", run, "--task", "graphs"]) == 2
    assert "must have labels of graphs for the task `graphs`, but has those of nodes" in capsys.readouterr().err


def test_the_command_says_how_the_linear_layer_was_fitted(cliques, tmp_path, capsys):
    config = {
        "model": {"class_path": "graph.graphmae", "init_args": {"num_features": 6, "width": 16}},
        "data": {"class_path": "graph.files", "init_args": cliques},
        "trainer": {"max_steps": 1, "accelerator": "cpu"},
    }
    (tmp_path / "config.yaml").write_text(json.dumps(config))
    run = str(tmp_path / "run")
    assert main(["fit", "--config", str(tmp_path / "config.yaml"), "--out", run]) == 0
    assert main(["graph-probe", run, "--lr", "0.02", "--weight_decay", "0.01", "--epochs", "20"]) == 0
    assert "Adam 0.02, decay 0.01, 20 full-batch epochs" in capsys.readouterr().out
    content = json.loads((tmp_path / "run" / "graph-probe.json").read_text())
    assert content["fit"] == {"lr": 0.02, "weight_decay": 0.01, "epochs": 20}
    for given, told in (
        (["--lr", "fast"], "`--lr` must be a number, but is `fast`"),
        (["--lr", "0"], "`lr` must be above 0, but is 0"),
        (["--epochs", "1.5"], "`--epochs` must be a whole number, but is `1.5`"),
    ):
        assert main(["graph-probe", run, *given]) == 2
        assert told in capsys.readouterr().err
