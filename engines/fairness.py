"""Whose turn it is: deadlines by class and age, fair to every session and every API key."""

from collections import Counter
from collections.abc import Collection

from engines.base import JobClass
from engines.tickets import URGENCY, Ticket

LONGEST_LEAD = {kind: 2.0 if kind.live else 30.0 for kind in JobClass}
"""Most seconds by which service in the past delays an owner's next job of a class."""

_SWEEP_FROM = 64


class Accounts:
    """When the next job of each name starts at the earliest: its virtual start.

    Service of one class delays jobs of that class and of less urgent ones, so that a session's
    partials never cost it its final.
    """

    def __init__(self) -> None:
        self._starts: dict[str, list[float]] = {}
        self._sweep_at = _SWEEP_FROM

    def __len__(self) -> int:
        return len(self._starts)

    def start(self, name: str, kind: JobClass) -> float:
        """The virtual start, on the clock of `charge`; minus infinity for who owes nothing."""
        starts = self._starts.get(name)
        return starts[kind] if starts is not None else float("-inf")

    def charge(self, name: str, kind: JobClass, seconds: float, now: float) -> None:
        """Move the virtual start on by `seconds`."""
        starts = self._starts.get(name)
        if starts is None:
            self._sweep(now)
            starts = self._starts[name] = [now] * len(JobClass)
        for each in range(kind, len(JobClass)):
            lead = LONGEST_LEAD[JobClass(each)]
            starts[each] = min(max(starts[each], now) + seconds, now + lead)

    def _sweep(self, now: float) -> None:
        if len(self._starts) < self._sweep_at:
            return
        self._starts = {name: own for name, own in self._starts.items() if max(own) > now}
        self._sweep_at = max(_SWEEP_FROM, 2 * len(self._starts))


class Fairness:
    """Start-time fair queueing (Goyal, Vin and Cheng, 1996) under earliest deadline first.

    A job is as old as its wait, or as its owner's or tenant's virtual start if that is later. Who
    was served for a second while four wanted service starts four seconds later. Tenants share
    alike, and so do the owners of one tenant; an owner without one counts as a tenant. The lead
    is bounded and does not grow while its owner waits, so nothing starves.
    """

    def __init__(self) -> None:
        self.owners = Accounts()
        self.tenants = Accounts()

    def deadline(self, ticket: Ticket) -> float:
        """When this job should have been done."""
        request, kind = ticket.request, ticket.kind
        start = max(ticket.waiting_since, self.owners.start(request.owner, kind))
        if request.tenant:
            start = max(start, self.tenants.start(request.tenant, kind))
        return start + URGENCY[kind]

    def charge(
        self, served: Collection[Ticket], waiting: Collection[Ticket], seconds: float, now: float
    ) -> None:
        """Share the cost of a step among the jobs in it; `waiting` could have been there too."""
        if not served:
            return
        share = seconds / len(served)
        requests = (ticket.request for pool in (served, waiting) for ticket in pool)
        owners = Counter(tenant for tenant, _ in {(r.tenant, r.owner) for r in requests})
        parties = sum(number if tenant == "" else 1 for tenant, number in owners.items())
        for ticket in served:
            tenant, owner = ticket.request.tenant, ticket.request.owner
            sharers = parties * (owners[tenant] if tenant else 1)
            self.owners.charge(owner, ticket.kind, share * sharers, now)
            if tenant:
                self.tenants.charge(tenant, ticket.kind, share * parties, now)
