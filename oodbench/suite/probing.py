"""Networks as methods set them up, looked at before anything is paid for."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cached_property

import torch

from oodbench.core import registry
from oodbench.core.dataset import Geometry
from oodbench.core.errors import ANYTHING, NotApplicable, UserError, reason_of
from oodbench.core.identity import fingerprint
from oodbench.core.method import Method
from oodbench.core.network import Input, Network, Task
from oodbench.suite.entries import MethodEntry, NetworkEntry
from oodbench.suite.pairs import PairEntry
from oodbench.suite.per_seed import at_seed
from oodbench.training.initialise import fresh_weights, given_weights


@dataclass(frozen=True)
class Fed:
    """A network of the suite on a pair, what it is fed, and its task without the statistics."""

    network: NetworkEntry
    input: Input
    pair: PairEntry
    geometry: Geometry
    task: Task

    @cached_property
    def place(self) -> str:
        """The same for the same network on images of the same kind."""
        of = [self.task.classes, list(self.task.names), self.geometry.identity]
        return fingerprint([self.network.spec.identity, *of])


class Probes:
    """Builds networks to see whether a method can set them up and what they then have. What they hold is of
    no account, so that those of one kind share their tensors; few are kept, since they are large."""

    def __init__(self) -> None:
        self._given: dict[str, str] = {}
        self._found: dict[str, str | UserError] = {}
        self._bare: dict[str, Network] = {}
        self._last: tuple[str, Network] | None = None
        self._fills: set[type[Method]] = set()

    def given(self, fed: Fed) -> str:
        """Digest of the weights that a network brings with it, see `given_weights`."""
        if fed.place not in self._given:
            self._given[fed.place] = given_weights(fed.network.spec, fed.task)
        return self._given[fed.place]

    def kind(self, fed: Fed, method: MethodEntry, seed: int) -> str:
        """What the network is as the method sets it up, its values aside: the same for the same modules and
        shapes. Each combination is tried once.

        Raises UserError where a method cannot set a network up, or a user's weights do not fit it."""
        place = _place(fed, method, seed)
        if place not in self._found:
            self._try(place, fed, method, seed)
        found = self._found[place]
        if isinstance(found, NotApplicable):
            raise NotApplicable(f"pair {fed.pair.label!r}: {found}")
        if isinstance(found, UserError):
            raise found
        return found

    def network(self, fed: Fed, method: MethodEntry, seed: int) -> Network:
        """The network as the method sets it up, to look at. Raises as `kind`."""
        self.kind(fed, method, seed)
        place = _place(fed, method, seed)
        if self._last is None or self._last[0] != place:
            self._try(place, fed, method, seed)
        self.kind(fed, method, seed)
        assert self._last is not None
        return self._last[1]

    def _try(self, place: str, fed: Fed, method: MethodEntry, seed: int) -> None:
        try:
            built: Method = registry.build("method", at_seed(method.spec, seed))
            network = self._set_up(fed, built)
            if built.provides == "weights":
                self._load(fed, built, network)
            self._found[place] = _kind(network)
            self._last = (place, network)
        except UserError as error:
            self._found[place] = error
        except ANYTHING as error:
            who = f"network {fed.network.label!r} with method {method.label!r}"
            self._found[place] = UserError(f"{who}: {reason_of(error)}")

    def _set_up(self, fed: Fed, method: Method) -> Network:
        bare = self._bare_network(fed)
        own_setup = getattr(method.setup, "__func__", None) is not Method.setup
        if not own_setup and (method.provides != "weights" or type(method) in self._fills):
            return bare
        try:
            network = copy.deepcopy(bare, {id(t): t for t in (*bare.parameters(), *bare.buffers())})
        except ANYTHING:  # a user's module may hold what cannot be copied
            return fresh_weights(fed.network.spec, method, fed.task, seed=0)
        with torch.random.fork_rng(devices=[]):
            method.setup(network)
        return network

    def _load(self, fed: Fed, method: Method, network: Network) -> None:
        """A method that has been seen to fill a network and to change nothing else needs no copy of it."""
        before = _kind(network)
        method.load(network)
        if _kind(network) == before:
            self._fills.add(type(method))
        else:
            self._fills.discard(type(method))
            self._bare.pop(fed.place, None)

    def _bare_network(self, fed: Fed) -> Network:
        """The network before a method sets it up."""
        if fed.place not in self._bare:
            self._bare[fed.place] = fresh_weights(fed.network.spec, Method(), fed.task, seed=0)
            while len(self._bare) > 1 and sum(map(_bytes, self._bare.values())) > _ROOM:
                del self._bare[next(iter(self._bare))]
        return self._bare[fed.place]


def _kind(network: Network) -> str:
    modules = [[name, type(m).__module__, type(m).__qualname__] for name, m in network.named_modules()]
    values = [[name, list(t.shape), str(t.dtype)] for name, t in network.state_dict().items()]
    return fingerprint([modules, values, network.stages])


_ROOM = 2**28
"""Bytes of networks that are kept to be looked at again."""


def _bytes(network: Network) -> int:
    return sum(t.numel() * t.element_size() for t in (*network.parameters(), *network.buffers()))


def _place(fed: Fed, method: MethodEntry, seed: int) -> str:
    return fingerprint([fed.place, at_seed(method.spec, seed).identity])
