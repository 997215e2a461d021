"""How much memory a computation holds at its highest point, tensor by tensor, on any device."""

import weakref

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Live(TorchDispatchMode):
    """Counts the bytes of all tensors made inside it: `now`, and `peak`, the most at once.

    What was there before is not counted, nor are views of it. What a kernel takes and gives back
    within one call is not seen.
    """

    def __init__(self):
        super().__init__()
        self.now = self.peak = 0
        self._known = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Call `func` and count what it gives."""
        kwargs = kwargs or {}
        self._note((args, kwargs), counts=False)
        out = func(*args, **kwargs)
        self._note(out, counts=True)
        return out

    def _note(self, tensors, counts: bool) -> None:
        for tensor in tree_leaves(tensors):
            if isinstance(tensor, torch.Tensor):
                self._add(tensor.untyped_storage(), counts)

    def _add(self, storage: torch.UntypedStorage, counts: bool) -> None:
        key, size = storage._cdata, storage.nbytes() * counts
        if key in self._known:
            return
        self._known.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._drop, key, size)

    def _drop(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size
