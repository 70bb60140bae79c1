"""Runs from shards: killed at random moments and carried on, and read over a network that fails now and then.

Takes minutes: ``pytest -m slow tests/test_shard_runs.py``. Runs are forks, see ``forks.py``.
"""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
import s3fs
from forks import check_same, ended, forked
from moto.server import ThreadedMotoServer

from unmask.cli import main

KILLS = 5
"""Of each run."""
STEPS = 36
LIMITS = [
    "--trainer.max_steps",
    str(STEPS),
    "--trainer.check_val_every_n_epoch",
    "3",
    "--trainer.limit_val_batches",
    "1",
]
LIMITS += ["--trainer.limit_train_batches", "5"]
DIGITS = ["--data.image_size", "8", "--data.channels", "1", "--data.augment", "crop-flip", "--data.batch_size", "16"]
SOUNDS = ["--data.batch_size", "8", "--data.seconds", "1", "--data.sample_rate", "16000", "--data.val_batch_size", "8"]
RUNS = {
    "vision": ("vision/mae-digits", ["vision/mae-digits"], DIGITS, "100KB"),
    "audio": ("audio/audio-mae-synth", ["audio/audio-mae-synth", "--data.num_sounds", "120"], SOUNDS, "1MB"),
}


def shards(folder, kind):
    """Shards of a recipe's data, and the words of a run that reads them."""
    recipe, data, own, size = RUNS[kind]
    assert main(["shard", *data, "--out", str(folder), "--shard_size", size]) == 0
    assert len(list(folder.glob("train-*.tar"))) > 2
    words = ["--config", recipe, "--data", f"{kind}.shards", "--data.shards", str(folder), "--data.window", "2"]
    return [*words, "--data.num_workers", "1", *own]


@pytest.mark.slow
@pytest.mark.parametrize("kind", RUNS)
def test_a_run_from_shards_that_is_killed_anywhere_ends_as_one_left_alone(kind, tmp_path):
    words = shards(tmp_path / "shards", kind)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, str(tmp_path / "runs"), kind, *words]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr
    check_same(tmp_path / "runs" / "whole", tmp_path / "runs" / "killed", STEPS)
    told = [(tmp_path / "runs" / name / "metrics.csv").read_text() for name in ("whole", "killed")]
    assert told[0] == told[1]


def run_and_kill(folder: Path, kind: str, words: list[str]) -> None:
    """A run that is left alone, and another that is killed until `KILLS` kills are done, then brought to its end."""
    rng = random.Random(kind)
    begun = time.monotonic()
    assert ended(forked("fit", *words, *LIMITS, "--out", str(folder / "whole"))) == 0
    seconds = time.monotonic() - begun
    kills = 0
    while True:
        last = ["--ckpt_path", "last"]
        process = forked("fit", *words, *LIMITS, "--out", str(folder / "killed"), *last)
        if kills < KILLS:
            time.sleep(rng.uniform(0.2, 0.7) * seconds)
            over, _ = os.waitpid(process, os.WNOHANG)
            if not over:
                os.kill(process, signal.SIGKILL)
                os.waitpid(process, 0)
                kills += 1
                continue
            kills = KILLS
            continue
        assert ended(process) == 0
        return


class Faults(BaseHTTPRequestHandler):
    """Passes requests on to a server; answers some with an error, cuts others off, and counts what is asked."""

    protocol_version = "HTTP/1.1"
    server: "Failing"

    def do_GET(self):
        self._pass()

    do_HEAD = do_PUT = do_POST = do_GET  # noqa: N815  names that the library looks for

    def log_message(self, *_):
        pass

    def _pass(self):
        fails, cuts = self.server.next_fault(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)) or None
        if fails:
            self.send_response(503)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        request = Request(self.server.behind + self.path, data=body, method=self.command)
        for name, value in self.headers.items():
            request.add_header(name, value)
        try:
            with urlopen(request) as answer:
                code, headers, content = answer.status, answer.headers, answer.read()
        except HTTPError as error:
            code, headers, content = error.code, error.headers, error.read()
        self.send_response(code)
        for name, value in headers.items():
            if name.lower() not in ("transfer-encoding", "content-length", "connection"):
                self.send_header(name, value)
        length = headers.get("Content-Length") if self.command == "HEAD" else len(content)
        self.send_header("Content-Length", str(length or 0))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if cuts else content)
        if cuts:
            self.close_connection = True


class Failing(ThreadingHTTPServer):
    """A proxy on the loopback whose answers fail."""

    daemon_threads = True

    def __init__(self, behind):
        super().__init__(("127.0.0.1", 0), Faults)
        self.behind, self.rng, self.lock = behind, random.Random(0), threading.Lock()
        self.asked, self.failed, self.cut = [], 0, 0

    def next_fault(self, path):
        with self.lock:
            self.asked.append(path)
            fails, cuts = self.rng.random() < 0.1, ".tar" in path and self.rng.random() < 0.1
            self.failed += fails
            self.cut += cuts and not fails
            return fails, cuts and not fails


@pytest.mark.slow
def test_a_run_reads_shards_from_an_object_store_that_fails_now_and_then(tmp_path, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    words = shards(tmp_path / "shards", "vision")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        behind = "http://{}:{}".format(*server.get_host_and_port())
        store = s3fs.S3FileSystem(endpoint_url=behind, skip_instance_cache=True)
        store.mkdir("bucket")
        store.put(str(tmp_path / "shards") + "/", "bucket/digits/", recursive=True)
        assert store.exists("bucket/digits/shards.json")
        proxy = Failing(behind)
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{proxy.server_port}")
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.server_port}")
        cache = tmp_path / "cache"
        largest = max(path.stat().st_size for path in (tmp_path / "shards").glob("*.tar"))
        url = ["--data.shards", "s3://bucket/digits", "--data.cache_folder", str(cache)]
        url += ["--data.cache_gb", str(6 * largest / 2**30)]
        own = [*LIMITS, "--out"]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        for name, more in (("near", []), ("far", url)):
            command = [sys.executable, "-m", "unmask", "fit", *words, *more, *own, str(tmp_path / name)]
            done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=900)
            assert done.returncode == 0, done.stdout + done.stderr
            assert "Traceback" not in done.stderr
        check_same(tmp_path / "near", tmp_path / "far", STEPS)
        assert proxy.failed > 2
        assert proxy.cut > 0
        assert any(".tar" in path for path in proxy.asked)
        assert sum(path.stat().st_size for path in cache.glob("*.tar")) <= 6 * largest
        assert not list(cache.glob("*.part"))
        for number in range(1, len(list((tmp_path / "shards").glob("train-*.tar")))):
            store.rm(f"bucket/digits/train-{number:06d}.tar")
        command = [sys.executable, "-m", "unmask", "fit", *words, *url, *own, str(tmp_path / "gone")]
        for path in cache.glob("*.tar"):
            path.unlink()
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=900)
        assert done.returncode == 2, done.stdout + done.stderr
        assert "There is no shard s3://bucket/digits/train-" in done.stderr
        assert "Traceback" not in done.stderr
    finally:
        server.stop()


if __name__ == "__main__":
    run_and_kill(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
