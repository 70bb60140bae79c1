"""Every command on A-JEPA and TERA, by the contract."""

from unmask.testing import RunContract

SMALL = ("--data.num_sounds", "48", "--data.batch_size", "8", "--data.val_batch_size", "8")


class TestAJEPA(RunContract):
    arguments = ["--config", "audio/a-jepa-synth", *SMALL]


class TestTERA(RunContract):
    arguments = ["--config", "audio/tera-synth", *SMALL]
