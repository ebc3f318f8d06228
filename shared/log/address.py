"""Choose the log by its address."""

from collections.abc import Mapping

from shared.log import Log
from shared.log_address import Brokers, Folder, Memory, parse


def open_log(address: str, kafka_security: Mapping[str, str] | None = None) -> Log:
    """Open the log at an address; see `shared.log_address.parse`, which raises ValueError.

    `kafka_security`: see `Settings.kafka_security`; None: no TLS and no password.
    """
    # Imported here so that an embedded log needs no Kafka client, and the other way round.
    match parse(address):
        case Memory():
            from shared.log.memory import MemoryLog

            return MemoryLog()
        case Folder(path):
            from shared.log.file import FileLog

            return FileLog(path)
        case Brokers(bootstrap, prefix):
            from shared.log.kafka import KafkaLog

            return KafkaLog(bootstrap, prefix, kafka_security)
