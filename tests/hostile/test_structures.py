"""Well formed and meant badly: structures that random bytes would hardly ever be."""

import contextlib
import json
import struct
import zlib

import yaml
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.contract.batch import parse_batch
from joulemark_agent.contract.document import parse_yaml, validate
from joulemark_agent.contract.errors import ConfigError, EvidenceError
from joulemark_agent.contract.leaf import parse_leaf
from joulemark_agent.contract.profile import Profile
from joulemark_agent.contract.sparse import parse_sparse
from joulemark_agent.documents import checked_profile
from joulemark_agent.kernels.answers import members, parse_json
from joulemark_agent.kernels.datavalue import DataValue, encode, parse
from joulemark_agent.opcua_binary import Cursor, MalformedError
from joulemark_agent.opcua_proposal import Leaf, proposals
from joulemark_agent.opcua_subscription import numeric
from joulemark_gateway.evidence.statement import open_statement
from joulemark_gateway.verify.policy import parse_policy
from support.evidence import METER, build_tree, documents, leaves_of, meter_readings

TEXT = st.text(max_size=12) | st.sampled_from(
    ["", "\0", "\n", "\x1b[2J", "\u202e", "é", "🏭", "9" * 30, "0", "-1", "1e9", "NaN",
     "joulemark/a/b/1"]
)  # fmt: skip
SCALAR = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | TEXT
VALUE = st.recursive(
    SCALAR,
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(TEXT, inside, max_size=4),
    max_leaves=20,
)
DOCUMENTS = documents()
_TREE = build_tree(DOCUMENTS, METER, meter_readings(DOCUMENTS, [1] * 3))
LEAVES = [json.loads(leaf) for leaf in leaves_of(_TREE)]
BATCH_FIELDS = ("checkpoint", "documents", "first_seq", "leaves", "parts", "v")


def plain(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(
        errors="surrogatepass"
    )


@given(st.dictionaries(st.sampled_from(BATCH_FIELDS), VALUE))
def test_a_batch_of_any_fields_is_one_or_is_refused(fields):
    for parse_one in (parse_batch, parse_sparse):
        for content in (fields, dict.fromkeys(BATCH_FIELDS, "") | fields):
            try:
                parse_one(zlib.compress(plain(content)))
            except EvidenceError:
                continue


@given(st.sampled_from(LEAVES), st.dictionaries(TEXT | st.sampled_from(sorted(LEAVES[0])), VALUE))
def test_a_leaf_with_any_fields_is_one_or_is_refused(leaf, others):
    with contextlib.suppress(EvidenceError):
        parse_leaf(plain(leaf | others))


@given(VALUE)
def test_what_a_verifier_is_handed_is_read_or_refused(value):
    for read, refusal in ((open_statement, EvidenceError), (parse_policy, ConfigError)):
        try:
            read(plain(value))
        except refusal:
            continue
        raise AssertionError("that is neither a statement nor a policy")


@given(VALUE)
def test_what_a_controller_answers_is_read_or_refused(value):
    try:
        parse_json(plain(value))
        members(plain(value))
    except ValueError:
        pass


@given(st.dictionaries(st.sampled_from(sorted(Profile.model_fields)), VALUE) | VALUE, st.booleans())
def test_any_yaml_is_a_profile_or_every_mistake_is_told(value, in_flow):
    text = yaml.safe_dump(value, allow_unicode=True, default_flow_style=in_flow)
    try:
        validate(Profile, parse_yaml(text, "profile.yaml"))
    except ConfigError as error:
        assert "profile.yaml:" in str(error)  # noqa: PT017 - most of them are refused


# A Variant of any kind, whose lengths may lie; and all that may stand beside it.
COUNT = st.integers(-2, 3) | st.sampled_from([2**31 - 1, 2**27, -(2**31), 50_001])


@st.composite
def variants(draw, depth=0):
    kind = draw(st.integers(0, 63))
    form = kind | draw(st.sampled_from([0, 0, 0x80, 0xC0, 0x40]))
    data = bytes((form,))
    if form & 0x80:
        data += struct.pack("<i", draw(COUNT))
    for _ in range(draw(st.integers(0, 3))):
        if kind in {23, 24} and depth < 12:
            data += (b"\x01" if kind == 23 else b"") + draw(variants(depth=depth + 1))
        else:
            data += draw(st.binary(max_size=20))
    return data


@given(variants(), st.binary(max_size=24), st.integers(0, 255))
def test_any_variant_is_kept_as_a_number_or_as_nothing(variant, rest, mask):
    try:
        variable = Cursor(bytes((mask,)) + variant + rest).variable()
    except MalformedError:
        return
    assert parse(numeric(variable)) is not None


@given(
    st.lists(
        st.builds(
            Leaf,
            node=st.text(max_size=20).filter(str.isprintable).map("nsu=urn:x;s={}x".format),
            path=st.lists(TEXT | st.text(max_size=60), min_size=1, max_size=4).map(tuple),
            space=TEXT,
            type=st.just("float64"),
            data=st.floats().map(
                lambda value: encode(DataValue("float64", struct.pack(">d", value)))
            ),
            unit=st.sampled_from(["", "KWT", "MQS", "CEL", "XXX"]),
            symbol=st.text(max_size=5).filter(str.isprintable),
            span=st.none() | st.tuples(st.floats(), st.floats()),
        ),
        min_size=1,
        max_size=6,
        unique_by=lambda leaf: leaf.node,
    )
)
def test_whatever_a_server_calls_its_variables_the_proposed_profile_can_be_read(leaves):
    for found in proposals(leaves, "opc.tcp://192.0.2.1"):
        profile, _ = checked_profile(parse_yaml(found.profile, "proposal.yaml"))
        assert len(profile.points) == len(leaves)
