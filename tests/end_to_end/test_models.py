"""A network of one's own goes in by commands alone: added, calibrated, measured on other people, and put to work."""

import csv
import hashlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.conftest import Faces
from tests.end_to_end.system import ROOT, System

NETWORKS = ROOT.parent / "shared" / "models"
FILES = {"yunet": "yunet_n_dynamic.onnx", "network": "edgeface_xs.onnx"}
PEOPLE = 130
"""On each side: some 300 pictures, ten seconds of extraction."""

MANIFEST = """
format = 1
name = "mine"
title = "EdgeFace-XS"
licence = "for tests only"
provenance = "../shared/models"
recipe = "plain"

[landmarks]
detector = "yunet"
file = "{yunet[0]}"
sha256 = "{yunet[1]}"

[[networks]]
kind = "onnx"
file = "{network[0]}"
sha256 = "{network[1]}"
width = 112
height = 112
colour = "RGB"
points = [[38.29, 51.70], [73.53, 51.50], [56.03, 71.74], [41.55, 92.37], [70.73, 92.20]]
dimension = 512
norm = "free"

[comparison]
normalised = false
unit = true
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if missing := [file for file in FILES.values() if not (NETWORKS / file).is_file()]:
        reason = f"needs {', '.join(missing)} of ../shared/models, which is not part of the project"
        if os.environ.get("EYNI_REQUIRE_SHARED") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("models") / "mine"
    folder.mkdir()
    for file in FILES.values():
        shutil.copyfile(NETWORKS / file, folder / file)
    digests = {k: (file, hashlib.sha256((folder / file).read_bytes()).hexdigest()) for k, file in FILES.items()}
    (folder / "model.toml").write_text(MANIFEST.format(**digests))
    return folder


def labels(path: Path, faces: Faces, people: list[str]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "person", "region"])
        for number, person in enumerate(people):
            writer.writerows((f"{name}.jpg", person, "north" if number % 2 else "south") for name in faces.of(person))
    return path


@pytest.mark.slow
def test_a_network_of_ones_own_is_added_calibrated_evaluated_on_others_and_serves(
    folder: Path, faces: Faces, tmp_path: Path
) -> None:
    several = [p for p in sorted(set(faces.person.values())) if len(faces.of(p)) > 1]
    ours, others = several[:PEOPLE], several[PEOPLE:]
    system = System(tmp_path / "data")
    system.run("models", "add", str(folder))
    before = system.run("models", "use", "mine", check=False)
    assert before.returncode == 1
    assert "has no calibration" in before.stderr

    table = labels(tmp_path / "ours.csv", faces, ours)
    system.run("calibrate", str(faces.folder), "--labels", str(table), "--model", "mine")
    system.run("models", "verify", "mine")
    system.run("models", "use", "mine")
    table = labels(tmp_path / "others.csv", faces, others)
    system.run("evaluate", str(faces.folder), "--labels", str(table), "--output", str(tmp_path / "report"))

    report: Any = json.loads((tmp_path / "report" / "report.json").read_text())
    (model,) = report["models"]
    misses = {row["fmr"]: row["fnmr"]["value"] for row in model["verification"]["at_rate"] if row["fnmr"]}
    assert misses[0.001] <= 0.016
    held = {row["declared_fmr"]: row["ratio"] for row in model["verification"]["at_threshold"]}
    assert 0.5 < held[0.01] < 2
    assert model["gallery"]["agrees"]
    assert {group["column"] for group in model["groups"]} == {"region"}
    page = (tmp_path / "report" / "report.html").read_text()
    assert not re.search(r"<script|(src|href)=[\"']?https?:", page), "the page is not self-contained"
    assert not list((tmp_path / "data").rglob("*.jsonl")), "templates were left behind"

    with system:
        named: dict[str, list[str]] = {}
        for person in others[:20]:
            first, second = (faces.read(name) for name in faces.of(person)[:2])
            if system.enrol(person, first).status == 400:
                continue  # its quality
            answer = system.enrol(f"again-{person}", second)
            if answer.status == 200:
                named[person] = [c["personId"] for c in answer.json["others"].get("candidates", [])]
                assert system.verify(person, second).json["decision"] is True
    assert len(named) >= 10
    assert named == {person: [person] for person in named}
    assert "mine-" in system.run("models", "list").stdout
