"""No single bit of a bundle can change unnoticed, wherever it stands."""

import random

import pytest

from joulemark_gateway.evidence.bundle import MANIFEST, README, STATEMENT, open_bundle
from joulemark_gateway.evidence.container import container_bytes
from joulemark_gateway.verify import manifest
from joulemark_gateway.verify.verdict import STEPS, verify
from support.bundles import policy, true_bundle
from support.flips import flipped

FLIPS = 500


def random_flips(count, seed):
    """Member and bit, every stored bit of every member as likely as any other."""
    members = open_bundle(true_bundle()).members
    places = [(name, 8 * len(data)) for name, data in sorted(members.items())]
    draw = random.Random(seed)
    for _ in range(count):
        at = draw.randrange(sum(bits for _, bits in places))
        for name, bits in places:
            if at < bits:
                yield name, at
                break
            at -= bits


def with_flip(name, bit):
    """The bundle with one bit of a member flipped, in a container that is whole again."""
    members = dict(open_bundle(true_bundle()).members)
    return container_bytes({**members, name: flipped(members[name], bit)})


def is_found(data):
    """Whether the verifier objects. The manifest goes first: with its objection the rest is idle,
    since a finding of one layer is a finding of the whole."""
    verdict = verify(data, policy(), (manifest.check,))
    if verdict.exit_code == 0:
        verdict = verify(data, policy())
    return verdict.exit_code != 0


@pytest.mark.endurance
def test_every_one_of_500_random_bit_flips_in_members_is_found():
    missed = [flip for flip in random_flips(FLIPS, seed=1) if not is_found(with_flip(*flip))]
    assert missed == []


@pytest.mark.parametrize(
    "name", [MANIFEST, pytest.param(STATEMENT, marks=pytest.mark.endurance), README]
)
def test_flips_in_the_small_members_are_found_too(name):
    """Random flips hardly ever hit them: they are small."""
    draw = random.Random(name)
    bits = 8 * len(open_bundle(true_bundle()).members[name])
    for bit in draw.sample(range(bits), 25):
        assert is_found(with_flip(name, bit)), bit


def test_without_the_manifest_some_flips_slip_through():
    """The control: what no other layer reads, only the manifest protects."""
    steps = tuple(step for step in STEPS if step is not manifest.check)
    idle = [flip for flip in random_flips(FLIPS, seed=1) if flip[0] == README]
    assert idle, "some flips hit the file that no other layer reads"
    assert verify(with_flip(*idle[0]), policy(), steps).exit_code == 0


def test_a_flip_in_the_container_file_itself_is_never_verified():
    data, draw = true_bundle(), random.Random(2)
    for _ in range(300):
        assert is_found(flipped(data, draw.randrange(8 * len(data))))


def test_a_flip_in_the_headers_and_the_directory_is_no_bundle_any_more():
    data = true_bundle()
    directory = data.rindex(b"PK\x05\x06")
    for bit in [*range(8 * 30), *range(8 * directory, 8 * len(data))]:
        assert verify(flipped(data, bit), policy()).exit_code == 2
