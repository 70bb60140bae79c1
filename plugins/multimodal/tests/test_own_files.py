"""Own files: recipes for images with captions, and for images with sounds, on folders that a new user has."""

import csv
import wave

import numpy as np
import pytest
from PIL import Image

from unmask.api import main

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220)}


@pytest.fixture
def own(tmp_path):
    """40 pictures in two folders, two captions of every third, a sound of nine in ten."""
    rng, rows = np.random.default_rng(0), []
    for number in range(40):
        colour = list(COLOURS)[rng.integers(3)]
        name = f"{'inner/' if number % 2 else ''}p{number}"
        image = tmp_path / "images" / f"{name}.png"
        sound = tmp_path / "sounds" / f"{name}.wav"
        for path in (image, sound):
            path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.full((40, 48, 3), 200, np.uint8)
        pixels[10:30, 10:35] = COLOURS[colour]
        Image.fromarray(pixels).save(image)
        rows.append((f"images/{name}.png", f"a {colour} box on a grey wall"))
        if number % 3 == 0:
            rows.append((f"images/{name}.png", f"this box is {colour}"))
        if number % 10:
            with wave.open(str(sound), "wb") as file:
                file.setnchannels(1)
                file.setsampwidth(2)
                file.setframerate(16_000)
                tone = np.sin(np.arange(16_000) * (1 + list(COLOURS).index(colour)) / 20)
                file.writeframes((tone * 9000).astype(np.int16).tobytes())
    rows.append(("images/gone.png", "a picture that is not there"))
    with (tmp_path / "captions.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "caption"), *rows])
    return tmp_path


SHORT = ["--trainer.max_steps", "4", "--data.batch_size", "8", "--trainer.accelerator", "cpu"]


def flip(own):
    return [
        "fit", "--config", "multimodal/flip-files", *SHORT, "--out", str(own / "run"), "--data.members.image.folder",
        str(own / "images"), "--data.members.text.paths", str(own / "captions.csv"),
        "--data.members.text.cache_folder", str(own / "cache"),
    ]  # fmt: skip


@pytest.mark.slow
def test_images_and_a_table_of_captions(own, capsys):
    assert main(flip(own)) == 0
    told = capsys.readouterr().out
    assert "1 samples of `text` belong to no `image` and are left out: images/gone.png." in told
    assert "38 pairs to train on, 2 to validate on." in told
    assert main(["multimodal-retrieve", str(own / "run")]) == 0
    assert "image to text" in capsys.readouterr().out


@pytest.mark.slow
def test_images_and_sounds_of_the_same_names(own, capsys):
    options = ["--data.members.image.folder", str(own / "images"), "--data.members.sound.folder", str(own / "sounds")]
    assert main(["fit", "--config", "multimodal/hicmae-files", *SHORT, "--out", str(own / "run"), *options]) == 0
    told = capsys.readouterr().out
    assert "4 samples of `image` have no `sound` and are left out: inner/" not in told
    assert "samples of `image` have no `sound` and are left out: p0.png, p10.png, p20.png, p30.png." in told


def test_what_a_new_user_gets_wrong_is_said_in_a_line(own, capsys):
    assert main(["fit", "--config", "multimodal/flip-files", "--out", str(own / "run")]) != 0
    assert "`--data.members.image.folder` is required." in capsys.readouterr().err
    assert main([*flip(own), "--data.members.text.name_column", "path"]) != 0
    assert "`name_column` must name a column" in capsys.readouterr().err
    assert main([*flip(own), "--data.pair", "index"]) != 0
    assert "Parts must have as many samples to be paired by index, but `image` has 40 and" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        (
            ["--data.members.sound.sample_rate", "8000"],
            "Of the part `sound`: `data.sample_rate` must be 16000, the `model.tokenizer.frontend.sample_rate`, but is",
        ),
        (["--data.members.image.image_size", "48"], "Of the part `image`: `data.image_size` must be 64"),
        (["--data.members.image.channels", "1"], "Of the part `image`: `data.channels` must be 3"),
    ],
)
def test_each_part_must_agree_with_its_data(own, capsys, options, rule):
    folders = ["--data.members.image.folder", str(own / "images"), "--data.members.sound.folder", str(own / "sounds")]
    run = ["fit", "--config", "multimodal/hicmae-files", *SHORT, "--out", str(own / "run"), *folders]
    assert main([*run, *options]) != 0
    assert rule in capsys.readouterr().err
