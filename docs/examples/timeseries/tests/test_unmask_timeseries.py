"""The plugin keeps the contracts that every plugin of unmask keeps."""

import torch
from unmask import Sequence, Tokens
from unmask.testing import DataContract, EncoderContract, MethodContract, RunContract

from unmask_timeseries.data import TimeseriesData
from unmask_timeseries.encoder import TimeseriesEncoder
from unmask_timeseries.method import TimeseriesMAE


class TestData(DataContract):
    def make(self, **options):
        return TimeseriesData(num_samples=32, batch_size=4, **options)


class TestEncoder(EncoderContract):
    def make(self):
        return TimeseriesEncoder()

    def tokens(self):
        return Tokens(torch.randn(3, 16, 4), Sequence())


class TestMethod(MethodContract):
    def make(self):
        return TimeseriesMAE()

    def batch(self):
        return {"signal": torch.randn(4, 64)}


class TestRun(RunContract):
    """Every command on four steps of the recipe."""

    arguments = ["--config", "timeseries/mae-waves"]
