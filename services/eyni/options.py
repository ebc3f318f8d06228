"""The options that several commands have, each explained once."""

from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[Path | None, typer.Option(help="Data folder [EYNI_DATA; ~/.local/share/eyni].", show_default=False)]
Log = Annotated[
    str | None,
    typer.Option(
        help="Log address: file:///folder or kafka://host:port [EYNI_LOG; in the data folder].", show_default=False
    ),
]
Port = Annotated[int | None, typer.Option(help="Port of the api [EYNI_API_PORT; 8080].", show_default=False)]
Url = Annotated[str | None, typer.Option(help="Where the api is; by default on this machine.", show_default=False)]
Bearer = Annotated[
    str | None,
    typer.Option(
        envvar="EYNI_TOKEN",
        help="Bearer token; by default one of the data folder's development key.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Picture = Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="A picture of one face.")]
Gallery = Annotated[str, typer.Option(help="OSIA gallery to look in; ALL for all.")]
Threshold = Annotated[
    float | None,
    typer.Option(help="Lowest score (dB, -10·log10 of the false match rate) that counts; by default the system's own."),
]
Labels = Annotated[
    Path | None,
    typer.Option(
        help="CSV with the columns file and person; more columns (sex, age, region) are groups. Not needed where each "
        "person has a folder, or the folder a labels.csv.",
        show_default=False,
    ),
]
Where = Annotated[
    Path,
    typer.Argument(
        help="Labelled faces: a folder of person/picture.jpg, a folder with --labels, a CSV, or an .npz of templates.",
        show_default=False,
    ),
]
KeepTemplates = Annotated[
    bool,
    typer.Option(
        "--keep-templates",
        help="Keep the extracted templates in the data folder, to be used again; else they are deleted at the end.",
    ),
]
