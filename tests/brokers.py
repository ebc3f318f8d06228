"""A real Kafka broker for tests: deploy/kafka/kafka-local.sh on free ports, in a folder of its own."""

import os
import signal
import socket
import subprocess
from pathlib import Path

SCRIPT = Path(__file__).parent.parent / "deploy" / "kafka" / "kafka-local.sh"


def why_none() -> str | None:
    """Return why no broker can be started here, or None."""
    if not list(SCRIPT.parent.glob("libs-*/kafka_2.13-*.jar")):
        return f"no Kafka jars; `{SCRIPT.relative_to(SCRIPT.parents[2])} fetch` gets them (needs Maven and Java 17)"
    return None


class Broker:
    """One broker, which can be frozen, killed and started again. Its data live in `folder`.

    `more` is a file of broker settings that go before the usual ones.
    """

    def __init__(self, folder: Path, more: Path | None = None) -> None:
        with socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", 0))
            two.bind(("127.0.0.1", 0))
            self._port, controller = one.getsockname()[1], two.getsockname()[1]
        self._folder = folder
        self._environment = {
            **os.environ,
            "KAFKA_PORT": str(self._port),
            "KAFKA_CONTROLLER_PORT": str(controller),
            "KAFKA_DIR": str(folder),
            "KAFKA_MORE": str(more or ""),
        }

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self._port}"

    def start(self) -> None:
        # Not into a pipe: the broker would keep its end, and `run` would wait for it.
        with (self._folder / "start.log").open("wb") as out:
            done = subprocess.run(["bash", SCRIPT, "start"], env=self._environment, stdout=out, stderr=out, timeout=120)
        if done.returncode:
            raise RuntimeError((self._folder / "start.log").read_text())

    def stop(self) -> None:
        subprocess.run(["bash", SCRIPT, "stop"], env=self._environment, stdout=subprocess.DEVNULL, timeout=60)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        os.kill(int((self._folder / "kafka.pid").read_text()), number)
