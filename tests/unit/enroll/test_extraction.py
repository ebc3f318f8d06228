"""From a picture to a template, with the real detector and network; and how they are imported."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter

from services.enroll.quality import Extracted
from shared.biometrics import RetakeReason, Template
from tests import models
from tests.models import default
from tests.unit.enroll import making
from tests.unit.enroll.making import HOPPER, TURNS, encoded, hopper


def extracted(image: Image.Image | bytes) -> Extracted:
    return making.extracted(image if isinstance(image, bytes) else encoded(image))


def reasons(image: Image.Image | bytes) -> list[RetakeReason]:
    return [defect.reason for defect in extracted(image).quality.defects]


@pytest.fixture(scope="module")
def known() -> Template:
    template = extracted(HOPPER).template
    assert template is not None
    return template


def distance(image: Image.Image | bytes, known: Template) -> float:
    template = extracted(image).template
    assert template is not None
    return float(np.linalg.norm(template.vector - known.vector))


def test_a_good_portrait_gives_a_template_of_the_model(known: Template) -> None:
    assert known.model == default().id
    assert known.vector.shape == (128,)
    assert known.vector.dtype == np.float32


def test_the_same_bytes_give_the_same_template(known: Template) -> None:
    assert distance(HOPPER, known) == 0.0


@pytest.mark.parametrize("orientation", TURNS)
def test_the_way_the_camera_was_held_does_not_change_the_template(orientation: int) -> None:
    exif, turn = Image.Exif(), TURNS[orientation]
    exif[0x0112] = orientation
    upright = hopper().crop((50, 0, 450, 400))
    stored = upright.transpose(turn) if turn is not None else upright
    template = extracted(upright).template
    assert template is not None
    assert distance(encoded(stored, exif=exif.tobytes()), template) < 1e-3


def test_a_large_picture_gives_nearly_the_same_template(known: Template) -> None:
    assert distance(encoded(hopper().resize((3072, 3636)), "JPEG", quality=90), known) < 0.2


@pytest.mark.parametrize("degrees", [-30, 30])
def test_a_tilted_head_is_taken(known: Template, degrees: int) -> None:
    assert distance(hopper().rotate(degrees, Image.Resampling.BICUBIC), known) < 0.2


def _side_by_side(first: Image.Image, second: Image.Image) -> Image.Image:
    both = Image.new("RGB", (first.width + second.width, first.height), "gray")
    both.paste(first, (0, 0))
    both.paste(second, (first.width, 0))
    return both


def _small(ratio: float) -> Image.Image:
    return hopper().resize((round(512 * ratio), round(606 * ratio)), Image.Resampling.LANCZOS)


SPOILT = {
    "no face": (Image.new("RGB", (500, 500), "gray"), RetakeReason.NO_FACE),
    "two faces": (_side_by_side(hopper(), hopper()), RetakeReason.SEVERAL_FACES),
    "dark": (ImageEnhance.Brightness(hopper()).enhance(0.2), RetakeReason.TOO_DARK),
    "bright": (ImageEnhance.Brightness(hopper()).enhance(2.2), RetakeReason.TOO_BRIGHT),
    "blurred": (hopper().filter(ImageFilter.GaussianBlur(6)), RetakeReason.BLURRED),
    "small": (_small(0.25), RetakeReason.TOO_SMALL),
    "cut off": (hopper().crop((190, 0, 512, 606)), RetakeReason.CUT_OFF),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_spoilt_portrait_is_refused_for_its_reason_and_gives_no_template(name: str) -> None:
    image, reason = SPOILT[name]
    result = extracted(image)
    assert reason in [defect.reason for defect in result.quality.defects]
    assert (result.template, result.quality.score) == (None, 0)


def test_somebody_far_behind_is_no_rival(known: Template) -> None:
    assert distance(_side_by_side(hopper(), _small(0.45)), known) < 0.1


def _python(code: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=120)


def test_face_recognition_is_imported_without_a_warning_and_leaves_no_stand_in_behind() -> None:
    done = _python("import sys; import services.enroll.faces; print('pkg_resources' in sys.modules)")
    assert (done.stdout.strip(), done.stderr, done.returncode) == ("False", "", 0)


@pytest.mark.parametrize("missing", ["face_recognition_models", "face_recognition"])
def test_the_default_model_is_refused_with_what_to_install_where_a_part_of_it_is_missing(missing: str) -> None:
    done = _python(
        f"import sys; sys.modules['{missing}'] = None\n"
        "from pathlib import Path\n"
        "from shared.model import ModelRefused, find\n"
        "try:\n"
        "    from services.enroll.extractor import Extractor\n"
        "    Extractor(find('dlib', Path('nowhere')))\n"
        "except ModelRefused as error: print(error)"
    )
    assert "pip install --no-deps face-recognition" in done.stdout


def test_a_network_with_a_detector_of_its_own_loads_no_face_recognition(tmp_path: Path) -> None:
    models.given(models.YUNET, models.EDGEFACE)
    folder = models.edgeface(tmp_path).folder
    done = _python(
        "import sys\n"
        "from pathlib import Path\n"
        "from services.enroll.extractor import Extractor\n"
        "from shared.model import load_model\n"
        f"Extractor(load_model(Path({str(folder)!r})))\n"
        "print('face_recognition' in sys.modules)"
    )
    assert (done.stdout.strip(), done.stderr) == ("False", "")
