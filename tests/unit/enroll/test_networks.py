"""ONNX networks: what is taken, what is refused before or after it is loaded, and what loading leaves behind."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from services.enroll import networks
from services.enroll.networks import Network, check
from services.enroll.onnx_file import inspect
from shared.model import ModelRefused, OnnxNetwork
from tests.unit.enroll import onnx_bytes as onnx
from tests.unit.enroll.onnx_bytes import DIMENSION, PICTURE, SIDE, node, value

NOISE = np.random.default_rng(5).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


def declared(data: bytes, **changes: object) -> OnnxNetwork:
    fields = {
        "kind": "onnx",
        "file": "network.onnx",
        "sha256": hashlib.sha256(data).hexdigest(),
        "width": SIDE,
        "height": SIDE,
        "colour": "RGB",
        "points": [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10]],
        "dimension": DIMENSION,
        "norm": "free",
    }
    return OnnxNetwork.model_validate(fields | changes)


def load(folder: Path, data: bytes, **changes: object) -> Network:
    (folder / "network.onnx").write_bytes(data)
    return Network(folder, declared(data, **changes))


def test_a_network_gives_what_it_computes_from_scaled_pixels(tmp_path: Path) -> None:
    network = load(tmp_path, onnx.network(), subtract=127.5, divide=64)
    weights = np.frombuffer(bytes(onnx.tensor("", (3, DIMENSION)))[-48:], dtype="<f4").reshape(3, DIMENSION)
    wanted = ((NOISE.reshape(-1, 3).mean(axis=0) - 127.5) / 64) @ weights
    found = network.template(NOISE)
    assert found.dtype == np.float32
    assert found == pytest.approx(wanted, abs=1e-5)


def test_the_order_of_colours_is_the_manifests(tmp_path: Path) -> None:
    rgb = load(tmp_path, onnx.network()).template(NOISE)
    bgr = load(tmp_path, onnx.network(), colour="BGR")
    assert not np.array_equal(bgr.template(NOISE), rgb)
    assert np.array_equal(bgr.template(NOISE[:, :, ::-1]), rgb)


def test_a_network_made_for_one_picture_at_a_time_is_taken(tmp_path: Path) -> None:
    load(tmp_path, onnx.network(shape=(1, 3, SIDE, SIDE), output=(1, DIMENSION)))


def test_a_network_needs_its_file_no_more_once_it_is_loaded(tmp_path: Path) -> None:
    network = load(tmp_path, onnx.network())
    before = network.template(NOISE)
    (tmp_path / "network.onnx").unlink()
    assert np.array_equal(network.template(NOISE), before)


def test_the_bytes_that_were_checked_are_the_bytes_that_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The file is exchanged between the check and the loading.
    sound, other = onnx.network(), onnx.network(weights=onnx.tensor("weights", (3, DIMENSION), 9.0))
    wanted = load(tmp_path, sound).template(NOISE)

    def exchange(data: bytes) -> None:
        inspect(data)
        (tmp_path / "network.onnx").write_bytes(other)

    monkeypatch.setattr(networks, "inspect", exchange)
    assert np.array_equal(load(tmp_path, sound).template(NOISE), wanted)


def test_an_unit_length_that_is_kept_is_taken(tmp_path: Path) -> None:
    load(tmp_path, onnx.network(after=[node("LpNormalization", ["product"], ["output"])]), norm="unit")


def cast(to: int, given: str = "product") -> bytes:
    number = onnx.field(1, "to") + onnx.field(3, to) + onnx.field(20, 2)
    return node("Cast", [given], ["output"], more=onnx.field(5, number))


NAN = onnx.tensor("weights", (3, DIMENSION), float("nan"))
RANDOM = [node("RandomUniformLike", ["product"], ["random"]), node("Add", ["product", "random"], ["output"])]
LYING = {
    "two inputs": (
        onnx.network(inputs=[value("more", PICTURE)], after=[node("Identity", ["product"], ["output"])]),
        "2 inputs",
    ),
    "two outputs": (onnx.network(outputs=[value("product", ("N", DIMENSION))]), "2 outputs"),
    "another height": (
        onnx.network(shape=("N", 3, 20, SIDE)),
        r"\['N', 3, 20, 16\]; model.toml declares float N x 3 x 16 x 16",
    ),
    "one colour": (onnx.network(shape=("N", 1, SIDE, SIDE), weights=onnx.tensor("weights", (1, 4))), "its input is"),
    "batches of two": (onnx.network(shape=(2, 3, SIDE, SIDE)), "its input is"),
    "three numbers": (
        onnx.network(output=("N", 3), weights=onnx.tensor("weights", (3, 3))),
        r"its output is .*\['N', 3\]; model.toml declares float N x 4",
    ),
    "a free dimension that is another": (
        onnx.network(output=("N", "D"), weights=onnx.tensor("weights", (3, 5))),
        r"its output is .* 5\]; model.toml declares float N x 4",
    ),
    "pictures, not numbers": (
        onnx.network(output=("N", 3, 1, 1), after=[node("GlobalAveragePool", ["input"], ["output"])]),
        "its output is",
    ),
    "double precision": (
        onnx.network(after=[cast(11)]),
        "onnxruntime does not load it|its output is",
    ),
    "no number": (onnx.network(weights=NAN), "NaN"),
    "chance": (onnx.network(after=RANDOM), "different numbers for one picture"),
    "a constant": (onnx.network(weights=onnx.tensor("weights", (3, DIMENSION), 0.0)), "same numbers for every picture"),
    "an unknown operator": (onnx.network(after=[node("Telepathy", ["product"], ["output"])]), "does not load it"),
    "an address that leads nowhere": (onnx.network(after=[node("Relu", ["nowhere"], ["output"])]), "does not load it"),
}  # fmt: skip


@pytest.mark.parametrize("name", LYING)
def test_a_network_that_is_not_what_the_manifest_declares_is_refused_with_the_reason(name: str, tmp_path: Path) -> None:
    data, reason = LYING[name]
    with pytest.raises(ModelRefused, match=rf"^{tmp_path}/network\.onnx: .*({reason})"):
        load(tmp_path, data)


def test_a_shape_that_shows_only_when_it_runs_is_refused_as_well(tmp_path: Path) -> None:
    places = [node("NonZero", ["product"], ["where"]), node("Transpose", ["where"], ["places"]), cast(1, "places")]
    with pytest.raises(ModelRefused, match=r"gives \(4, 2\) numbers; model.toml declares \(1, 2\)"):
        load(tmp_path, onnx.network(output=("N", 2), after=places), dimension=2)


def test_a_length_that_is_not_one_is_refused_where_one_is_declared(tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match="not of length 1"):
        load(tmp_path, onnx.network(), norm="unit")


def test_onnxruntime_would_read_other_files_so_that_is_refused_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where onnxruntime looks for them
    (tmp_path / "weights.bin").write_bytes(np.full(3 * DIMENSION, 0.5, dtype=np.float32).tobytes())
    data = onnx.network(weights=onnx.tensor("weights", (3, DIMENSION), more=onnx.external("weights.bin")))
    with pytest.raises(ModelRefused, match="asks for external data"):
        load(tmp_path, data)


def test_a_custom_operator_is_refused_by_its_domain(tmp_path: Path) -> None:
    after = [node("Gelu", ["product"], ["output"], domain="com.microsoft")]
    with pytest.raises(ModelRefused, match=r"custom operators, of the domain 'com\.microsoft'"):
        load(tmp_path, onnx.network(after=after, domains=["com.microsoft"]))


def test_a_mark_of_onnxruntimes_own_format_changes_nothing_about_what_is_read(tmp_path: Path) -> None:
    # With it at byte 4, onnxruntime would read a flatbuffer, where `inspect` has read a protobuf.
    data = onnx.field(2, "xxORTM") + onnx.network()
    assert data[4:8] == b"ORTM"
    marked, plain = load(tmp_path, data), load(tmp_path, onnx.network())
    assert np.array_equal(marked.template(NOISE), plain.template(NOISE))


def test_a_file_that_is_missing_or_another_is_refused_by_its_name(tmp_path: Path) -> None:
    data = onnx.network()
    with pytest.raises(ModelRefused, match=r"network\.onnx: No such file"):
        Network(tmp_path, declared(data))
    with pytest.raises(ModelRefused, match=r"fetches it from https://models\.example/n"):
        Network(tmp_path, declared(data, address="https://models.example/n"))
    (tmp_path / "network.onnx").write_bytes(data + b"\x08\x08")
    with pytest.raises(ModelRefused, match=f"its SHA-256 is .*; model.toml says {hashlib.sha256(data).hexdigest()}"):
        Network(tmp_path, declared(data))


def test_a_huge_file_is_refused_before_it_is_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "FILE_BYTES", 100)
    with pytest.raises(ModelRefused, match="is larger than"):
        load(tmp_path, onnx.network())


def test_a_single_file_can_be_checked_by_its_path(tmp_path: Path) -> None:
    data = onnx.network()
    (tmp_path / "elsewhere.onnx").write_bytes(data)
    check(tmp_path / "elsewhere.onnx", declared(data))
    with pytest.raises(ModelRefused, match=r"elsewhere\.onnx: its output is"):
        check(tmp_path / "elsewhere.onnx", declared(data, dimension=5))


def test_onnxruntime_reports_to_nobody_and_leaves_nothing_in_the_home_folder(tmp_path: Path) -> None:
    # Its official builds identify the machine and send events to their maker, unless told otherwise before the import.
    code = (
        "import os, services.enroll.networks\n"
        "links = ['/proc/self/fd/' + n for n in (os.listdir('/proc/self/fd') if os.path.isdir('/proc') else ())]\n"
        "files = [os.readlink(link) for link in links if os.path.exists(link)]\n"
        "print([f for f in files if 'socket' in f or f.endswith('.db')])"
    )
    home = tmp_path / "home"
    home.mkdir()
    environment = {"HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=60)
    assert (done.returncode, done.stdout.strip(), list(home.rglob("*"))) == (0, "[]", [])
