"""The loggers of wren, whose records say by attributes what they are about.

Every record of a logger `wren.*` has `executor`, `job`, `call` and `attempt`, None where it is about none (or about
several).  Ids are those of futures: `executor` "4f0c1a-0", `job` "M000", and `call` an int.
"""

import logging
from collections.abc import Collection, MutableMapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from wren.job import Job

__all__ = ["Log"]

logging.getLogger("wren").addHandler(logging.NullHandler())  # quiet, unless the program that uses wren says otherwise

_FIELDS: Final = ("executor", "job", "call", "attempt")


class Log(logging.LoggerAdapter[logging.Logger]):
    """A logger that takes the fields as keywords: `_log.info("... %s", reason, executor=..., job=..., call=3)`.

    `about` is a `Job` in the place of the first two, `calls` several in that of `call`.  As long as the level is off
    this costs no more than any logger.
    """

    def __init__(self, name: str) -> None:
        super().__init__(logging.getLogger(name), {})

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """The fields as attributes of a record that will be made."""
        fields = {name: kwargs.pop(name, None) for name in _FIELDS}
        job: Job | None = kwargs.pop("about", None)
        if job is not None:
            fields["executor"], fields["job"] = job.table.executor_id, job.header.job
        calls: Collection[int] = kwargs.pop("calls", ())
        if len(calls) == 1:
            (fields["call"],) = calls
        kwargs["extra"] = fields
        return msg, kwargs
