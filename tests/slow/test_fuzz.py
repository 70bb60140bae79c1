"""Some cases of each kind of hostile input; `fuzz.py` runs as many as it is told."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_hostile_input_is_read_or_refused_in_plain_words(tmp_path):
    fuzz = Path(__file__).with_name("fuzz.py")
    command = [sys.executable, str(fuzz), "--cases", "300", "--seed", "7", "--out", str(tmp_path / "results.jsonl")]
    ended = subprocess.run(command, capture_output=True, text=True, errors="replace")
    assert ended.returncode == 0, ended.stdout[-4000:] + ended.stderr[-2000:]
    assert "0 of 300 cases failed" in ended.stdout
