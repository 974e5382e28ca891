"""Keeps what is slow to make, such as a model, for the next task of the same process."""

import gc
import threading
from collections.abc import Callable, Hashable
from typing import Any, TypeVar
from weakref import WeakValueDictionary

Thing = TypeVar("Thing")

_making = threading.Lock()
_in_use: WeakValueDictionary[Hashable, Any] = WeakValueDictionary()
_latest: list[Any] = []


def kept(key: Hashable, make: Callable[[], Thing]) -> Thing:
    """What `make` gave for this key, made once per process however many threads ask.

    One thing is kept: that which was asked for last. Another key frees it, before its own is made, as soon as no task
    holds it any more; so a device need not have room for two. Things must take weak references, as instances of most
    classes do. What `make` raises is raised here, and the next call tries again.
    """
    with _making:
        thing: Thing | None = _in_use.get(key)
        if thing is None:
            _latest.clear()
            gc.collect()  # models hold references in circles
            thing = _in_use[key] = make()
        _latest[:] = [thing]
        return thing
