"""Hostile bytes from a seed: well-formed frames that are mutated, and random bytes.

The environment variable `FUZZ` sets the number of cases of each test (make fuzz); by default a test runs few.
A failing case is reproduced by its seed, which is in the test's name or message.
"""

import os
import random
from collections.abc import Iterator, Sequence

CASES = int(os.environ.get("FUZZ", "0"))
_NESTED = (b"\x91", b"\x81\xa1t", b"\x81")
_HEADS = bytes(
    (0xC0, 0xC1, 0xC4, 0xC6, 0xC9, 0xCA, 0xCB, 0xCF, 0xD3, 0xD9, 0xDB, 0xDC, 0xDD, 0xDE, 0xDF, 0xFF)
)


def case_count(default: int) -> int:
    """Return the number of cases to run."""
    return CASES or default


def mutate(rng: random.Random, sample: bytes, others: Sequence[bytes]) -> bytes:
    """Return `sample` changed in one to four places, or spliced with another sample."""
    data = bytearray(sample)
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(data) + 1)
        match rng.randrange(9):
            case 0 if data:
                data[place % len(data)] ^= 1 << rng.randrange(8)
            case 1 if data:
                data[place % len(data)] = rng.randrange(256)
            case 2:
                data[place:place] = rng.randbytes(rng.randint(1, 8))
            case 3:
                del data[place : place + rng.randint(1, 8)]
            case 4:
                del data[place:]
            case 5:
                data += rng.randbytes(rng.randint(1, 40))
            case 6:
                other = rng.choice(others)
                data[place:] = other[rng.randrange(len(other) + 1) :]
            case 7:
                data[place : place + 1] = bytes((rng.choice(_HEADS),)) + rng.randbytes(rng.randint(0, 4))
            case _:
                data[place:place] = rng.choice(_NESTED) * rng.choice((1, 50, 2000))
    return bytes(data)


def hostile_samples(seed: int, number: int, samples: Sequence[bytes]) -> Iterator[bytes]:
    """Yield `number` byte strings: most are mutated samples, some are random."""
    rng = random.Random(seed)
    for _ in range(number):
        if rng.random() < 0.1:
            yield rng.randbytes(rng.choice((0, 1, 3, 40, 400)))
        else:
            yield mutate(rng, rng.choice(samples), samples)
