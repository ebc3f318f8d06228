"""Which software makes a model's templates here: a result is repeated with the same."""

from importlib.metadata import PackageNotFoundError, version

from shared.model import DlibLandmarks, DlibNetwork, Model, OnnxNetwork


def versions(model: Model) -> dict[str, str]:
    """Return name → version of Eyni, of Python's numpy, and of what runs this model's detector and networks."""
    manifest = model.manifest
    wanted = {"eyni": ("eyni",), "numpy": ("numpy",), "opencv": ("opencv-python-headless", "opencv-python")}
    if isinstance(manifest.landmarks, DlibLandmarks) or any(isinstance(n, DlibNetwork) for n in manifest.networks):
        wanted |= {"dlib": ("dlib-bin", "dlib"), "face_recognition": ("face-recognition",)}
    if any(isinstance(network, OnnxNetwork) for network in manifest.networks):
        wanted["onnxruntime"] = ("onnxruntime", "onnxruntime-gpu")
    return {name: _version(packages) for name, packages in wanted.items()}


def _version(packages: tuple[str, ...]) -> str:
    for package in packages:
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return "development"  # run from a checkout
