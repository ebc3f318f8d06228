"""The settings that keep one client's work from holding up another's; `shared.settings` has them with all others."""

from pydantic import BaseModel, Field


class TurnSettings(BaseModel):
    """How much of a client's is taken at a time, and how its turns are kept short."""

    # ---- api
    client_samples: int = Field(
        default=200,
        ge=40,
        description="Most samples that one client may have on the log undecided, urgent and bulk counted apart; calls "
        "to the matcher alone count as one each. Beyond: 429. A caller who waits for the answer may have fewer, as "
        "many as can be answered in a third of answer_timeout at the rate that enroll reports. Three stations have 12. "
        "At least 40, one request's. Each api process counts its own; turns in enroll hold across all of them.",
    )
    client_bytes: int = Field(
        default=24 * 2**20,
        gt=0,
        description="The same in bytes of pictures: two of the largest requests. It bounds what enroll reads ahead; a "
        "client of whom nothing is on the log may send one larger request.",
    )

    # ---- enroll
    express_workers: int = Field(
        default=1,
        ge=0,
        le=16,
        description="Extraction processes beyond `workers` that take only urgent captures of clients of whom no other "
        "urgent one is being worked on: an officer does not wait until two costly pictures of somebody else's are done "
        "(1.8 s each, up to time_limit). Costs a worker's memory (some 200 MB with dlib). 0: none.",
    )
    request_seconds: float = Field(
        default=20.0,
        gt=0,
        description="Seconds of workers that the samples of one request may take together; those not begun by then are "
        "refused as too_costly. 20 + 20 ordinary pictures take 4 s with dlib, ten of 25 megapixels 20 s.",
    )
