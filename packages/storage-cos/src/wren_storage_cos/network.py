"""Which endpoint a worker uses: the client's where both are in one network, else the private one.

Standard library only, for workers import it.
"""

import os


def here() -> str:
    """What tells the network that this process is in from others: a network namespace of one running kernel.

    A container has a namespace of its own unless it shares its machine's.  Hashed, as it travels in payloads.
    """
    import hashlib  # by those only who have to choose

    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            place = file.read().strip() + os.readlink("/proc/self/ns/net")
    except OSError:  # no Linux: the machine's name has to do
        place = os.uname().nodename
    return hashlib.sha256(place.encode()).hexdigest()[:16]


def endpoint_of(endpoint: str, private_endpoint: str, client: str) -> str:
    """The URL to use in this process; `client` is what `here` gave in the client's."""
    return private_endpoint if private_endpoint and client != here() else endpoint
