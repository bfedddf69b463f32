"""Reports how a command in a submitit job ended, both to the waiting sweep and to SLURM."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

# 143: stopped by a signal; -1: stopped by submitit, which has requeued the job. The sweep keeps waiting.
STOPPED = (143, -1)


@contextmanager
def reported() -> Iterator[None]:
    """Make the command within the block exit with a status and leave a result, even if it fails.

    Otherwise Hydra would turn an exception into a return value, and SLURM would report COMPLETED. SystemExit
    would leave no result, and the sweep would wait until SLURM's accounting reports the end of the job: up to
    ten minutes, or forever without accounting.
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
    """Write the result of a failed job, as submitit.core.submission.process_job does for an exception."""
    import submitit
    from submitit.core.utils import cloudpickle_dump, temporary_save_path

    with temporary_save_path(submitit.JobEnvironment().paths.result_pickle) as file:
        cloudpickle_dump(("error", trace), file)
