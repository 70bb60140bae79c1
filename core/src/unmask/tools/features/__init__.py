"""One vector per sample or token, from an encoder or from the raw input."""

POOLS = ("mean", "max", "mean+max", "cls")
"""Ways from a sample's codes to one vector, see `Latent.pool`."""
PROBE_POOLS = (*POOLS, "flat")
"""Those of a probe, where ``flat`` is all codes one after another."""
SPLITS = ("train", "val", "probe_train", "probe_test")
"""The fields of `unmask.data.Splits`, without importing torch."""
ALL = "all"
"""Stands for all samples of the data, each once."""
