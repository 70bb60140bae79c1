"""Every command on every method, by the contract."""

from unmask.testing import RunContract


class TestMAE(RunContract):
    arguments = ["--config", "vision/mae-digits"]


class TestSimMIM(RunContract):
    arguments = ["--config", "vision/simmim-digits"]


class TestIJEPA(RunContract):
    arguments = ["--config", "vision/ijepa-digits"]
