"""What becomes of a message that was sent."""

from dataclasses import dataclass, field

# The refusal codes after which the same bytes are sent again.
TRANSIENT = frozenset({"overloaded", "shutting-down", "storage-failing", "not-ready"})


@dataclass(frozen=True)
class Accepted:
    """The node has it. `duplicate`: it had it before. `mode` is what is promised; empty over MQTT, whose
    acknowledgement does not say."""

    duplicate: bool = False
    mode: str = ""
    results: list = field(default_factory=list)


@dataclass(frozen=True)
class Refused:
    """These bytes will never be accepted."""

    code: str
    detail: str
    next_epoch: int | None = None


@dataclass(frozen=True)
class Later:
    """Not now, or nobody answered: the same bytes again, after at least `wait` seconds."""

    code: str
    detail: str
    wait: float = 0.0
