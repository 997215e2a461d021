"""Checkpoints that all processes write together, each its part, while the training goes on.

    step-00000120/shards/shard-00001-model-00001-of-00001.safetensors    of process 0, and so on

torch.distributed.checkpoint writes them, as safetensors with the place of each part in its header;
`models/shards.py` reads them as it reads a whole file. They are written beside the folder, which
gets its digests and its name from the first process once everyone's part is on the disk.
"""

import errno
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import torch.distributed as dist
from torch.distributed.checkpoint import HuggingFaceStorageWriter, async_save
from torch.distributed.checkpoint.api import CheckpointException

from speechllm import files
from speechllm.models.shards import FOLDER
from speechllm.train.group import Group


class Saving:
    """Writes one sharded checkpoint at a time.

    Args:
        group: the processes; all call `begin` and `wait`.
    """

    def __init__(self, group: Group):
        self.group = group
        # beside the training's own messages, of which there are some on the way
        self.channel = dist.new_group(backend="gloo")
        self.thread: threading.Thread | None = None
        self.error: BaseException | None = None

    def begin(self, target: Path, tensors: dict[str, dict], close: Callable) -> None:
        """Copy tensors to the CPU and write them from there; the one before is waited for.

        Args:
            target: the folder that is to be.
            tensors: file stem -> {name: tensor}, those of this process.
            close: called in the first process with what makes a file of the folder, as
                `store.write` takes it; gives the folder its name.

        Raises:
            OSError: the one before could not be written.
        """
        self.wait()
        beside = target.with_name(f".{target.name}.{FOLDER}.{files.UNFINISHED}")
        flat = {f"{stem}/{k}": v for stem, part in tensors.items() for k, v in part.items()}
        if self.group.is_main:
            shutil.rmtree(beside, ignore_errors=True)
            beside.mkdir(parents=True)
        self.group.accelerator.wait_for_everyone()
        writer = HuggingFaceStorageWriter(str(beside), save_distributed=True)
        future = async_save(flat, storage_writer=writer, process_group=self.channel)
        self.thread = threading.Thread(target=self._end, args=(future, target, beside, close))
        self.thread.start()

    def _end(self, future, target: Path, beside: Path, close: Callable) -> None:
        try:
            future.result()
            if self.group.is_main:
                # the path that is given ends as a file's; what lies beside takes its place
                close({FOLDER: lambda path: os.rename(beside, path.with_suffix(""))})
        except BaseException as error:
            self.error = _told(error, target)

    def wait(self) -> None:
        """Wait until what was begun has its name.

        Raises:
            OSError: it could not be written; names the process.
        """
        if self.thread is None:
            return
        self.thread.join()
        self.thread, error, self.error = None, self.error, None
        if error:
            raise error
        self.group.accelerator.wait_for_everyone()


def _told(error: BaseException, target: Path) -> BaseException:
    """Say of an error of the writer which process had it."""
    if not isinstance(error, CheckpointException):
        return error
    rank, (cause, _) = next(iter(error.failures.items()))
    full = getattr(cause, "errno", None) == errno.ENOSPC or "No space" in str(cause)
    hint = "its disk is full: free some space and resume" if full else str(cause)
    return OSError(
        f"could not save {target}: process {rank}: {hint}; earlier checkpoints are whole"
    )
