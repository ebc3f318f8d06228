"""The commands that look after models and measure them: `eyni models ...`, `eyni calibrate`, `eyni evaluate`."""

from pathlib import Path
from typing import Annotated

import typer

from services.eyni.common import load
from services.eyni.options import Data, Json, KeepTemplates, Labels, Log, Where

models = typer.Typer(
    help="The models that turn pictures into templates, and templates into scores (docs/models.md).",
    no_args_is_help=True,
)


@models.command("list")
def list_models(data: Data = None, json: Json = False) -> None:
    """Show which models are here, how well each tells people apart, and which one is in use."""
    from services.eyni.models import show

    show(load(data), json)


@models.command()
def add(
    what: Annotated[
        str,
        typer.Argument(
            help="A folder with a model.toml; the name of a model that Eyni knows where to fetch (sface); or the "
            "http(s) address of a .zip of a model's folder, with --sha256.",
            show_default=False,
        ),
    ],
    sha256: Annotated[
        str | None, typer.Option(help="SHA-256 that the .zip must have, in hex.", show_default=False)
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Put it in the place of another model of that name.")
    ] = False,
    data: Data = None,
    trust_calibration: Annotated[
        bool,
        typer.Option(
            "--trust-calibration",
            help="Let the calibration that comes with it count, on your word: who made it decides who matches whom.",
        ),
    ] = False,
) -> None:
    """Bring a model into the data folder, once everything about it has been checked.

    Nothing is fetched without a digest. What is broken off, or refused, leaves everything as it was.
    """
    from services.eyni.models_add import add

    add(what, load(data), sha256, replace, trust_calibration)


@models.command()
def verify(
    names: Annotated[list[str] | None, typer.Argument(help="Names of models \\[all].", show_default=False)] = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Check models: digests, safety of the networks, landmarks, a rehearsal, calibration. Exit code 1 if one fails."""
    from services.eyni.models import verify

    raise typer.Exit(verify(names or [], load(data), json))


@models.command()
def use(
    name: Annotated[str, typer.Argument(help="Name of the model.", show_default=False)],
    data: Data = None,
    log: Log = None,
) -> None:
    """Choose the model that serves. It must pass `verify` and be calibrated, and the gallery must be empty or its own.

    Services that are running go on with theirs until they are started again.
    """
    from services.eyni.models import use

    use(name, load(data, log))


def calibrate(
    where: Where,
    labels: Labels = None,
    model: Annotated[str | None, typer.Option(help="Name of the model \\[the one in use].", show_default=False)] = None,
    about: Annotated[
        str | None,
        typer.Option(help="What the faces are, for whoever reads the calibration \\[their name].", show_default=False),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Write the calibration there instead of beside the model.", show_default=False),
    ] = None,
    keep_templates: KeepTemplates = False,
    data: Data = None,
    json: Json = False,
) -> None:
    """Measure what a model's comparisons mean, on labelled faces, so that it can serve.

    It takes 30 people, better thousands: 600 measure false match rates down to about 1 in 3,000, 3,000 people to 1 in
    60,000. Broken off and started again, it goes on where it was.
    """
    from services.eyni.calibrate import Wish, calibrate

    settings = load(data)
    calibrate(Wish(where, labels, model, about, output, keep_templates), settings, json)


def evaluate(
    where: Where,
    labels: Labels = None,
    model: Annotated[
        list[str] | None,
        typer.Option(help="Name of a model; may be repeated, to compare them \\[the one in use].", show_default=False),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Folder for report.html and report.json \\[eyni-report].", show_default=False),
    ] = None,
    keep_templates: KeepTemplates = False,
    data: Data = None,
    json: Json = False,
) -> None:
    """Measure models on your own faces with the real extractor, scores and gallery, and write a report.

    The report is one HTML page (report.html), the same figures for machines (report.json) and a summary here, after
    ISO/IEC 19795-1. Broken off and started again, it goes on where it was.
    """
    from services.eyni.evaluate import evaluate

    raise typer.Exit(
        evaluate(load(data), where, labels, model or [], output or Path("eyni-report"), keep_templates, json)
    )
