"""A command in a job of submitit's: the waiting sweep and SLURM both learn how it ended."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

# 143: by a signal; -1: by submitit, which has put the job back into the queue. The sweep goes on waiting.
STOPPED = (143, -1)


@contextmanager
def reported() -> Iterator[None]:
    """Around a command, so that it ends with a status and leaves a result, also where it fails.

    Without this Hydra would make a value of an exception, and SLURM call the job COMPLETED; SystemExit would
    leave no result, and the sweep wait for it until SLURM's accounting tells that the job is gone: for up to
    ten minutes, or for ever where there is no accounting.
    """
    if "SUBMITIT_EXECUTOR" not in os.environ or "submitit.core.submission" not in sys.modules:
        yield
        return
    try:
        yield
    except SystemExit as end:
        if end.code and end.code not in STOPPED:
            _leave_result(f"{end.__context__ or 'no message'} (exit status {end.code})")
        raise
    except Exception:
        traceback.print_exc()
        _leave_result(traceback.format_exc())
        raise SystemExit(1) from None


def _leave_result(trace: str) -> None:
    """As submitit.core.submission.process_job does for an exception."""
    import submitit
    from submitit.core.utils import cloudpickle_dump, temporary_save_path

    with temporary_save_path(submitit.JobEnvironment().paths.result_pickle) as file:
        cloudpickle_dump(("error", trace), file)
