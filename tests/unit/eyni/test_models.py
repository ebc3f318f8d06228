"""`eyni models`: what is here, what may come in and from where, what is refused, and what a break leaves behind."""

import importlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from services.eyni import common, placing
from shared.biometrics import Template
from shared.log.file import FileLog
from shared.model import (
    BUILT_IN,
    CALIBRATION,
    MANIFEST,
    Comparison,
    Manifest,
    OnnxNetwork,
    find,
    load_model,
    names,
    parse_manifest,
)
from shared.topics import TOPICS, entry
from tests import models as given
from tests.facts import enrolled
from tests.unit.eyni import folders
from tests.unit.eyni.folders import Eyni, command


@pytest.fixture
def eyni(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Eyni:
    return command(tmp_path / "data", monkeypatch)


# ---- from a folder


def test_a_folder_is_copied_with_what_belongs_to_a_model_and_nothing_else(eyni: Eyni, tmp_path: Path) -> None:
    source = folders.calibrated(folders.model(tmp_path / "anything"))
    (source.folder / "notes.txt").touch()
    (source.folder / "secret").mkdir()
    result = eyni("add", "--trust-calibration", source.folder)
    assert result.exit_code == 0, result.output
    assert eyni.added == {"toy": {MANIFEST, "net.onnx", CALIBRATION}}
    assert find("toy", eyni.data).id == source.id
    assert eyni.leftovers == []


def test_a_model_without_calibration_comes_in_and_is_told_what_it_lacks(eyni: Eyni, tmp_path: Path) -> None:
    result = eyni("add", folders.model(tmp_path / "toy").folder)
    assert (result.exit_code, "eyni calibrate" in result.output) == (0, True)


def test_what_is_no_model_is_refused_with_the_reason(eyni: Eyni, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "docs/models.md" in eyni("add", tmp_path / "empty").output
    unknown = eyni("add", "arcface")
    assert (unknown.exit_code, "sface" in unknown.output) == (1, True)
    assert eyni.added == {}


def wrong_digest(folder: Path) -> None:
    folders.model(folder, digest="0" * 64)


def does_not_work(folder: Path) -> None:
    folders.model(folder, network=Eyni.bad)


def lost_network(folder: Path) -> None:
    (folders.model(folder).folder / "net.onnx").unlink()


def link_outside(folder: Path) -> None:
    model = folders.model(folder)
    (folder.parent / "secret").write_bytes(folders.NETWORK)
    (model.folder / "net.onnx").unlink()
    (model.folder / "net.onnx").symlink_to(folder.parent / "secret")


def manifest_outside(folder: Path) -> None:
    folders.model(folder)
    (folder / MANIFEST).rename(folder.parent / "away.toml")
    (folder / MANIFEST).symlink_to("../away.toml")


def calibration_of_another(folder: Path) -> None:
    other = folders.calibrated(folders.model(folder.parent / "other", recipe="mirrored"))
    shutil.copy(other.folder / CALIBRATION, folders.model(folder).folder)


def corrupt_calibration(folder: Path) -> None:
    (folders.model(folder).folder / CALIBRATION).write_text("{")


def endless_manifest(folder: Path) -> None:
    folders.model(folder)
    with (folder / MANIFEST).open("a") as file:
        file.write("#" * 70_000)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (wrong_digest, "SHA-256"),
        (does_not_work, "7 numbers"),
        (lost_network, "no address"),
        (link_outside, "link out of its folder"),
        (manifest_outside, "link out of its folder"),
        (calibration_of_another, "is of model"),
        (corrupt_calibration, "not JSON"),
        (endless_manifest, "larger than"),
    ],
)
def test_a_model_that_is_not_in_order_is_refused_and_leaves_nothing(
    eyni: Eyni, tmp_path: Path, spoil: Callable[[Path], None], reason: str
) -> None:
    spoil(tmp_path / "toy")
    result = eyni("add", tmp_path / "toy")
    assert (result.exit_code, reason in result.output) == (1, True), result.output
    assert (eyni.added, eyni.leftovers) == ({}, [])
    # The folder that is named is the user's own, not one that is gone.
    assert (str(tmp_path / "toy") in result.output, "adding-" in result.output) == (True, False)


def test_a_title_does_not_steer_the_terminal(eyni: Eyni, tmp_path: Path) -> None:
    model = folders.model(tmp_path / "toy")
    text = (model.folder / MANIFEST).read_text().replace("A network of tests", "\\u001b[2Jtitle")
    (model.folder / MANIFEST).write_text(text)
    assert r"\x1b[2Jtitle" in eyni("add", model.folder).output
    assert [command for command in ("list", "verify") if "\x1b" in eyni(command).output] == []


def test_a_link_within_the_folder_is_followed(eyni: Eyni, tmp_path: Path) -> None:
    model = folders.model(tmp_path / "toy")
    (model.folder / "net.onnx").rename(model.folder / "blob")
    (model.folder / "net.onnx").symlink_to("blob")
    assert eyni("add", model.folder).exit_code == 0
    assert not (eyni.data / "models" / "toy" / "net.onnx").is_symlink()


# ---- again, and in the place of another


def test_adding_the_same_again_is_fine_and_keeps_the_calibration(eyni: Eyni, tmp_path: Path) -> None:
    source = folders.model(tmp_path / "toy").folder
    eyni("add", source)
    folders.calibrated(find("toy", eyni.data))
    calibration = (eyni.data / "models" / "toy" / CALIBRATION).read_bytes()
    assert eyni("add", source).exit_code == 0
    assert (eyni.data / "models" / "toy" / CALIBRATION).read_bytes() == calibration


def test_the_same_model_with_another_comparison_loses_its_calibration_only_when_told_to_replace(
    eyni: Eyni, tmp_path: Path
) -> None:
    source = folders.calibrated(folders.model(tmp_path / "toy")).folder
    eyni("add", "--trust-calibration", source)
    (source / CALIBRATION).unlink()
    manifest = source / MANIFEST
    manifest.write_text(manifest.read_text().replace("normalised = false", "normalised = true"))
    refused = eyni("add", "--trust-calibration", source)
    assert (refused.exit_code, "--replace" in refused.output, "eyni calibrate" in refused.output) == (1, True, True)
    assert eyni("add", "--trust-calibration", source, "--replace").exit_code == 0
    assert find("toy", eyni.data).manifest.comparison.normalised
    assert eyni.added == {"toy": {MANIFEST, "net.onnx"}}


def test_another_model_of_the_name_comes_in_only_when_told_to_replace(eyni: Eyni, tmp_path: Path) -> None:
    old = folders.calibrated(folders.model(tmp_path / "1")).folder
    new = folders.model(tmp_path / "2", recipe="mirrored")
    eyni("add", old)
    refused = eyni("add", new.folder)
    assert (refused.exit_code, "--replace" in refused.output) == (1, True)
    assert find("toy", eyni.data).id == load_model(old).id
    assert eyni("add", new.folder, "--replace").exit_code == 0
    assert (find("toy", eyni.data).id, eyni.added) == (new.id, {"toy": {MANIFEST, "net.onnx"}})


def test_a_name_that_comes_with_eyni_is_taken_too(eyni: Eyni, tmp_path: Path) -> None:
    assert "another model sface" in eyni("add", folders.model(tmp_path / "x", "sface").folder).output


def test_another_calibration_of_the_same_model_comes_in_only_when_told_to_replace(eyni: Eyni, tmp_path: Path) -> None:
    first = folders.calibrated(folders.model(tmp_path / "1")).folder
    second = folders.calibrated(folders.model(tmp_path / "2"), seed=2).folder
    eyni("add", "--trust-calibration", first)
    assert "another calibration" in eyni("add", "--trust-calibration", second).output
    assert eyni("add", "--trust-calibration", second, "--replace").exit_code == 0
    assert (eyni.data / "models/toy" / CALIBRATION).read_bytes() == (second / CALIBRATION).read_bytes()


def test_the_model_in_use_is_not_replaced_by_another(eyni: Eyni, tmp_path: Path) -> None:
    eyni("add", "--trust-calibration", folders.calibrated(folders.model(tmp_path / "1")).folder)
    assert eyni("use", "toy").exit_code == 0
    result = eyni("add", folders.model(tmp_path / "2", recipe="mirrored").folder, "--replace")
    assert (result.exit_code, "in use" in result.output) == (1, True)


def test_a_model_cannot_be_called_like_the_file_that_names_the_one_in_use(eyni: Eyni, tmp_path: Path) -> None:
    assert eyni("add", folders.model(tmp_path / "x", "in-use").folder).exit_code == 1
    assert eyni.added == {}


def test_a_break_while_one_model_takes_the_place_of_another_leaves_the_old_one(
    eyni: Eyni, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = folders.model(tmp_path / "1")
    eyni("add", old.folder)
    rename = Path.rename

    def interrupted(self: Path, target: Path) -> Path:
        if self.name == "staged":
            raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", interrupted)
        result = eyni("add", folders.model(tmp_path / "2", recipe="mirrored").folder, "--replace")
    assert result.exit_code == 130
    assert (find("toy", eyni.data).id, eyni.leftovers) == (old.id, [])


def test_a_kill_in_that_moment_is_made_good_by_the_next_command(eyni: Eyni, tmp_path: Path) -> None:
    old = folders.model(tmp_path / "1")
    eyni("add", old.folder)
    (eyni.data / "adding-killed" / "old").mkdir(parents=True)
    (eyni.data / "models" / "toy").rename(eyni.data / "adding-killed" / "old" / "toy")
    assert names(eyni.data) == ["dlib", "dlib-mirrored", "sface"]
    eyni("add", folders.model(tmp_path / "2", "other").folder)
    assert (find("toy", eyni.data).id, eyni.leftovers) == (old.id, [])


def test_two_commands_do_not_put_models_in_place_at_once(eyni: Eyni, tmp_path: Path) -> None:
    with placing.workshop(eyni.data):
        result = eyni("add", folders.model(tmp_path / "1").folder)
    assert (result.exit_code, "right now" in result.output) == (1, True)


# ---- verify


def test_verify_says_what_was_checked_and_fails_for_what_is_not_in_order(eyni: Eyni, tmp_path: Path) -> None:
    eyni("add", "--trust-calibration", folders.calibrated(folders.model(tmp_path / "1")).folder)
    eyni("add", folders.model(tmp_path / "2", "plain").folder)
    assert eyni("verify").exit_code == 0
    (eyni.data / "models" / "plain" / "net.onnx").write_bytes(b"swapped")
    result = eyni("verify", "--json")
    said = {each["name"]: each for each in json.loads(result.stdout)}
    assert result.exit_code == 1
    assert {name: each["verdict"] for name, each in said.items()} == {
        "dlib": "good", "dlib-mirrored": "good", "plain": "refused", "sface": "not fetched", "toy": "good",
    }  # fmt: skip
    assert "SHA-256" in said["plain"]["problem"]
    assert any("calibration: measured to" in check for check in said["toy"]["checks"])


def test_verify_of_one_model_looks_at_no_other(eyni: Eyni, tmp_path: Path) -> None:
    eyni("add", folders.model(tmp_path / "1").folder)
    result = eyni("verify", "toy")
    assert (result.exit_code, "dlib" in result.output, "does not serve yet" in result.output) == (0, False, True)


@pytest.mark.parametrize("name", ["sface", "nobody"])
def test_verify_of_what_is_not_here_fails_if_it_was_named(eyni: Eyni, name: str) -> None:
    assert eyni("verify", name).exit_code == 1


# ---- use


def test_the_model_that_is_chosen_is_in_use(eyni: Eyni, tmp_path: Path) -> None:
    eyni("add", "--trust-calibration", folders.calibrated(folders.model(tmp_path / "1")).folder)
    result = eyni("use", "toy")
    assert (result.exit_code, "start them again" in result.output) == (0, True)
    shown = json.loads(eyni("list", "--json").stdout)
    assert [row["name"] for row in shown if row["inUse"]] == ["toy"]


@pytest.mark.parametrize(("name", "advice"), [("toy", "eyni calibrate"), ("sface", "eyni"), ("nobody", "models add")])
def test_a_model_that_cannot_serve_is_not_chosen(eyni: Eyni, tmp_path: Path, name: str, advice: str) -> None:
    eyni("add", folders.model(tmp_path / "1").folder)
    result = eyni("use", name)
    assert (result.exit_code, advice in result.output) == (1, True)
    assert not (eyni.data / "models" / "in-use").exists()


def gallery_of(eyni: Eyni, model_id: str) -> None:
    log = FileLog(eyni.data / "log")
    log.ensure(list(TOPICS.values()))
    log.append([entry(enrolled(1, "ada", [Template(model_id, np.ones(8, np.float32))]))])
    log.close()


def test_a_gallery_of_another_model_keeps_its_model(eyni: Eyni, tmp_path: Path) -> None:
    eyni("add", "--trust-calibration", folders.calibrated(folders.model(tmp_path / "1")).folder)
    gallery_of(eyni, "other-0123")
    refused = eyni("use", "toy")
    assert (refused.exit_code, "other-0123" in refused.output) == (1, True)
    assert not (eyni.data / "models" / "in-use").exists()


def test_a_gallery_of_this_model_takes_it(eyni: Eyni, tmp_path: Path) -> None:
    model = folders.calibrated(folders.model(tmp_path / "1"))
    eyni("add", "--trust-calibration", model.folder)
    gallery_of(eyni, model.id)
    assert eyni("use", "toy").exit_code == 0


def test_it_is_said_where_the_environment_chooses_another(
    eyni: Eyni, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    eyni("add", "--trust-calibration", folders.calibrated(folders.model(tmp_path / "1")).folder)
    monkeypatch.setenv("EYNI_MODEL", "dlib")
    assert "EYNI_MODEL says dlib" in eyni("use", "toy").output


# ---- list


def test_the_list_says_what_each_model_is_and_how_much_it_misses(eyni: Eyni, tmp_path: Path) -> None:
    eyni("add", "--trust-calibration", folders.calibrated(folders.model(tmp_path / "1")).folder)
    rows = {row["name"]: row for row in json.loads(eyni("list", "--json").stdout)}
    assert rows["toy"]["dimension"] == 8
    assert set(rows["toy"]["calibration"]["misses"]) == {"30", "40", "50"}
    assert rows["dlib"]["inUse"]
    assert "eyni models add sface" in rows["sface"]["problem"]
    assert rows["sface"]["calibration"] is None
    text = eyni("list").output
    assert [
        word for word in ("toy", "sface", "dlib *", "A network of tests", "licence: none") if word not in text
    ] == []


def test_a_broken_model_is_listed_with_its_trouble_and_spoils_no_other(eyni: Eyni, tmp_path: Path) -> None:
    eyni("add", folders.model(tmp_path / "1").folder)
    (eyni.data / "models" / "toy" / MANIFEST).write_text("format = 2")
    result = eyni("list")
    assert (result.exit_code, "toy" in result.output, "dlib" in result.output) == (0, True, True)
    assert eyni("verify", "toy").exit_code == 1


def test_a_model_that_is_in_use_and_gone_is_listed_as_such(eyni: Eyni, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EYNI_MODEL", "lost")
    rows = {row["name"]: row for row in json.loads(eyni("list", "--json").stdout)}
    assert (rows["lost"]["inUse"], "no model" in rows["lost"]["problem"]) == (True, True)


# ---- what explains itself, and the real thing


def test_every_error_that_is_told_in_one_line_exists_by_that_name() -> None:
    for name in common.REFUSALS:
        module, _, kind = name.rpartition(".")
        error: Exception = getattr(importlib.import_module(module), kind)("why")
        assert common.explained(error) == (common.Code.NO, "why")


def test_a_real_network_is_added_and_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = given.edgeface(tmp_path)
    monkeypatch.setenv("EYNI_DATA", str(tmp_path / "data"))
    assert Eyni(tmp_path / "data")("add", source.folder).exit_code == 0
    result = Eyni(tmp_path / "data")("verify", "edgeface-xs")
    assert (result.exit_code, "512 numbers" in result.output) == (0, True)


def test_the_guides_examples_are_manifests() -> None:
    guide = (Path(__file__).resolve().parents[3] / "docs" / "models.md").read_text(encoding="utf-8")
    first, second, third = re.findall(r"```toml\n(.*?)```", guide, re.DOTALL)
    assert parse_manifest(first).landmarks.detector == "yunet"
    points = second.split("[[networks]]")[1]
    of_yunet, of_network = re.findall(r"\[landmarks\].*?\n\n|^points.*?\n", first, re.DOTALL | re.MULTILINE)
    with_dlib = first.replace(of_yunet, second.split("[[networks]]")[0]).replace(of_network, points)
    assert parse_manifest(with_dlib).landmarks.detector == "dlib"
    recipe, dlib = third.split("\n\n")
    for one in (first, with_dlib):
        both = one.replace('recipe = "plain"', recipe).replace("[[networks]]", f"{dlib}\n[[networks]]")
        assert [network.kind for network in parse_manifest(both).networks] == ["face_recognition", "onnx"]
    assert load_model(BUILT_IN / "dlib").manifest.networks == parse_manifest(both).networks[:1]
    fields = {*Manifest.model_fields, *OnnxNetwork.model_fields, *Comparison.model_fields} - {"format", "networks"}
    assert [name for name in fields if not re.search(rf"`([a-z]+\.)?{name}\b", guide)] == []
