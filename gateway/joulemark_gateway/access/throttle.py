"""How often somebody may ask, and how soon again after a wrong password. Pure: time is given.

Both remember a bounded number of keys, whoever came longest ago is forgotten first: an attacker
with many addresses takes no memory, and gets no more tries for one user's name.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

MOST_KEYS = 20_000
_FORGOTTEN_S = 3600.0


def network_of(address: str) -> str:
    """The address as it is counted: of IPv6 the /64 that one customer is given."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(IPv6Address(int(found) >> 64 << 64))
    return str(found)


class Buckets:
    """A token bucket a key: so many at once, and so many a second after that."""

    def __init__(self, per_s: float, burst: int) -> None:
        self._per_s, self._burst = per_s, float(burst)
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def taken(self, key: str, now_s: float) -> float:
        """Take one; 0.0 where there was one, else in how many seconds there is."""
        left, since_s = self._left.pop(key, (self._burst, now_s))
        left = min(self._burst, left + max(now_s - since_s, 0.0) * self._per_s)
        wait_s = 0.0 if left >= 1 else (1 - left) / self._per_s
        self._left[key] = (left - 1 if left >= 1 else left, now_s)
        if len(self._left) > MOST_KEYS:
            self._left.popitem(last=False)
        return wait_s

    def told(self, key: str, now_s: float) -> dict[str, str]:
        """What stands on an answer of how much may still be asked.

        Source: draft-ietf-httpapi-ratelimit-headers-10: `q` requests in `w` seconds, `r` of them
        left, all of them again in `t` seconds.
        """
        left, since_s = self._left.get(key, (self._burst, now_s))
        left = min(self._burst, left + max(now_s - since_s, 0.0) * self._per_s)
        window_s, full_s = self._burst / self._per_s, (self._burst - left) / self._per_s
        return {
            "ratelimit-policy": f'"asker";q={self._burst:.0f};w={math.ceil(window_s)}',
            "ratelimit": f'"asker";r={int(left)};t={math.ceil(full_s)}',
        }


@dataclass
class _Tries:
    count: int
    last_s: float
    until_s: float


class WrongTries:
    """After some wrong tries each further one has to wait twice as long as the one before."""

    def __init__(self, free: int, most_s: float) -> None:
        self._free, self._most_s = free, most_s
        self._tries: OrderedDict[str, _Tries] = OrderedDict()

    def wait_s(self, key: str, now_s: float) -> float:
        """In how many seconds the next try is looked at; 0.0: at once."""
        found = self._tries.get(key)
        return max(found.until_s - now_s, 0.0) if found else 0.0

    def begun(self, key: str, now_s: float) -> None:
        """Count a try before it is looked at, so that many at the same time are not free."""
        found = self._tries.pop(key, None)
        if found is None or now_s - found.last_s > _FORGOTTEN_S:
            found = _Tries(0, now_s, 0.0)
        found.count, found.last_s = found.count + 1, now_s
        beyond = found.count - self._free
        if beyond >= 0:
            found.until_s = now_s + min(2.0 ** min(beyond, 30), self._most_s)
        self._tries[key] = found
        if len(self._tries) > MOST_KEYS:
            self._tries.popitem(last=False)

    def was_right(self, key: str, *, forget: bool) -> None:
        """Take the try back; with `forget` all wrong ones before it too."""
        found = self._tries.get(key)
        if found is None:
            return
        found.count -= 1
        if forget or found.count <= 0:
            del self._tries[key]
        elif found.count < self._free:
            found.until_s = 0.0
