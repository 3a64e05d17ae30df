"""`make chaos`: the whole product under concurrent clients, while its processes, connections and disk are taken away.

    schedule    what is done when: a pure function of the seed
    nemesis     does it to the parts (`parts`), the connections (`proxy`) and the disk (`disk`)
    workload    concurrent clients in a process of their own, and what became of each of their calls (`history`)
    watching    watchers that resume by their token; `following`: a subscriber; `tap`: a bare queue
    evidence    what is read back afterwards (`reading`: through gRPC)
    verdict     what all of it says, pure: lost, recovered, unexpected, duplicated, and so on
    report      for people and programs; `plot`: the timeline

Beside it, each a program of its own that holds the product to a promise (`promises`, `measuring`), with callers that
measure (`calling`): `outage` of the broker, `rolling` restarts, `overload`.

`cluster` is one for a cluster of `brokers`.

The conductor (`run`) knows no gRPC: it forks, and what speaks gRPC runs in processes of its own.
"""
