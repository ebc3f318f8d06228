"""What the service refuses to start with: one clear line and the exit code of a wrong use, not a traceback."""

import os
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from services.enroll import bootstrap
from shared.biometrics import Template
from shared.calibration import Comparator
from shared.events import ReferenceEnrolled
from shared.gallery_log import WrongModel
from shared.log.address import open_log
from shared.log.memory import MemoryLog
from shared.model import ModelRefused
from shared.settings import Settings
from shared.topics import TOPICS, Name, entry
from tests import models
from tests.unit.enroll.making import HOPPER, PretendExtractor, capture, enrol, extracted, request


def settings(data: Path, model: str = "") -> Settings:
    return Settings(data=data, log=(data / "log").as_uri(), model=model, workers=1, enroll_metrics_port=0)


def run(data: Path, model: str = "") -> None:
    bootstrap.run(settings(data, model), threading.Event())


def test_a_model_that_is_not_there_does_not_serve(tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match="there is no model 'nobody'; there are dlib"):
        run(tmp_path, "nobody")


def test_a_model_without_calibration_does_not_serve_but_its_workers_work(tmp_path: Path) -> None:
    model = models.edgeface(tmp_path / "models")
    with pytest.raises(ModelRefused, match="has no calibration, so its scores mean nothing yet: run `eyni calibrate"):
        run(tmp_path, model.name)
    with closing(bootstrap.pool(settings(tmp_path), model)) as pool:
        assert pool.size == 1
        assert pool.submit(HOPPER).result(timeout=60).template is not None


def test_a_gallery_of_another_model_is_not_enrolled_into(tmp_path: Path) -> None:
    log = open_log(settings(tmp_path).log_address)
    log.ensure(list(TOPICS.values()))
    other = Template("mobilefacenet-y1-0123456789ab", np.ones(128, dtype=np.float32))
    log.append([entry(ReferenceEnrolled(request("c-1"), enrol("p"), (other,)))])
    log.close()
    with pytest.raises(WrongModel, match="are of model mobilefacenet-y1-0123456789ab, and the model in use is dlib-"):
        run(tmp_path)


def test_the_services_loop_has_the_gate_of_the_models_calibration() -> None:
    log = MemoryLog()
    log.ensure(list(TOPICS.values()))
    comparator = Comparator(models.default().calibration)
    answers = PretendExtractor(size=2)
    with closing(bootstrap.worker(log, Settings(), answers, comparator)) as worker:
        log.append([entry(capture(name, b"1")) for name in ("real", "everybody")])
        worker.run_once()
        real = extracted(HOPPER)
        assert real.template is not None
        mean = np.array(comparator.calibration.gate.centre, dtype=np.float32)
        master = Template(real.template.model, (mean / np.linalg.norm(mean) * 1.4).astype(np.float32))
        answers.promised[0].set_result(real)
        answers.promised[1].set_result(type(real)(master, real.quality))
        worker.run_once()
    assert len(log.read(Name.GALLERY, {}).poll(10, 0)) == 1
    (refusal,) = log.read(Name.DECISIONS, {}).poll(10, 0)
    assert b'"not_a_face"' in refusal.value


@pytest.mark.parametrize("broken", ["missing", "uncalibrated", "corrupt manifest"])
def test_the_command_ends_with_one_line_and_the_code_of_a_wrong_use(broken: str, tmp_path: Path) -> None:
    folder = tmp_path / "models" / "mine"
    if broken != "missing":
        text = models.manifest("mine", models.DLIB_POINTS, models.DLIB_NETWORK)
        models.put(tmp_path / "models", text)
        if broken == "corrupt manifest":
            (folder / "model.toml").write_text(text.replace("dimension = 128", "dimension = 512"))
    environment = {
        **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        "PYTHONPATH": os.pathsep.join(sys.path),
        "EYNI_DATA": str(tmp_path),
        "EYNI_MODEL": "mine",
        "EYNI_ENROLL_METRICS_PORT": "0",
    }
    command = [sys.executable, "-P", "-m", "services.eyni", "enroll"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    said = (done.stdout + done.stderr).splitlines()
    # Besides what may be said of who runs it, and of the modes of a folder that this test has made.
    besides = ("starting", "runs as root", "could be read by other users")
    lines = [line for line in said if not any(word in line for word in besides)]
    assert done.returncode == 2
    assert len(lines) == 1
    wanted = {"missing": "there is no model", "uncalibrated": "has no calibration", "corrupt manifest": "dimension"}
    assert "cannot start" in lines[0]
    assert wanted[broken] in lines[0]
