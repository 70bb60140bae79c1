"""PyG's data sets of clouds: what they keep is read as data alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch_geometric.data import Data, InMemoryDataset

from unmask.data import Findings
from unmask_pointcloud.data.pyg import PyGCloudsData


class Evil:
    """Would make a folder when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("part", ["training.pt", "pre_transform.pt", "pre_filter.pt"])
@pytest.mark.parametrize("kept", ["dict", "object"])
def test_no_file_of_a_pyg_data_set_runs_code(tmp_path: Path, part: str, kept: str) -> None:
    (tmp_path / "raw" / "2d_circle").mkdir(parents=True)
    processed = tmp_path / "processed"
    processed.mkdir()
    samples = [Data(pos=torch.rand(20, 3), face=torch.randint(20, (3, 30)), y=torch.tensor([i])) for i in range(3)]
    whole, slices = InMemoryDataset.collate(samples)
    for name in ("training.pt", "test.pt"):
        torch.save((whole.to_dict(), slices, Data) if kept == "dict" else (whole, slices), processed / name)
    for name in ("pre_transform.pt", "pre_filter.pt"):
        torch.save("None", processed / name)
    assert len(PyGCloudsData("GeometricShapes", str(tmp_path)).source.read(Findings()).train) == 3

    ran = tmp_path / "ran"
    torch.save(Evil(ran), processed / part)
    for call in ("prepare_data", "setup"):
        with pytest.raises(ValueError, match=rf"{part}` must hold data alone, but asks for `\w+\.mkdir`"):
            getattr(PyGCloudsData("GeometricShapes", str(tmp_path)), call)()
    assert not ran.exists()
