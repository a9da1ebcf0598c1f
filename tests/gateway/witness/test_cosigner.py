"""A witness cosigns what goes on from what it cosigned, and nothing else, whatever is asked."""

import random
import sys
from dataclasses import replace

import pytest

from joulemark_agent.contract.errors import EvidenceError, StoreError
from joulemark_agent.contract.signature import (
    Checkpoint,
    cosigned_at,
    encode64,
    public_key,
    sign_checkpoint,
)
from joulemark_agent.contract.tree import EMPTY_ROOT
from joulemark_gateway.witness.cosigner import Cosigner
from joulemark_gateway.witness.exchange import (
    MOST_BYTES,
    Request,
    cosignature_of,
    parse_request,
    parse_size,
)
from joulemark_gateway.witness.store import FILE, Cosigned, WitnessStore
from support.evidence import FOREIGN, KEYS
from support.log_writer import Breaking, Broken
from support.logs import FIRM, FIRM_KEY, ORIGIN, Log, identity, log_of
from support.present import present

NOW_S = 1_795_305_600


def witness(store):
    return Cosigner(store, identity(), lambda: NOW_S)


@pytest.fixture
def store(tmp_path):
    with WitnessStore(tmp_path / FILE) as opened:
        yield opened


def test_a_log_that_grows_is_cosigned_from_head_to_head(store):
    log, firm, old = log_of(40), witness(store), 0
    for size in (1, 2, 7, 8, 8, 33, 40):
        answer = firm.answer(log.body(old, size))
        assert (answer.status, answer.kind) == (200, "text/plain; charset=utf-8")
        line = present(cosignature_of(log.note(size), answer.body, FIRM, [public_key(FIRM_KEY)]))
        assert line == answer.body
        assert cosigned_at(log.note(size) + line, FIRM, public_key(FIRM_KEY)) == NOW_S
        assert present(store.last(ORIGIN)).head == log.head(size)
        old = size


def test_it_says_what_the_specification_says(store):
    log, firm = log_of(20), witness(store)
    other = log_of(20, "another", log.leaves[:5])
    assert firm.answer(log.body(0, 10)).status == 200
    unknown = Log(log.leaves, "joulemark/collector/unknown")
    foreign = replace(log_of(20), key=FOREIGN.witness)
    spoiled = log.request(10, 15)
    spoiled = replace(spoiled, path=spoiled.path[::-1])
    cases = {
        "unknown log": (unknown.body(0, 10), 404, None),
        "foreign key": (foreign.body(10, 15), 403, None),
        "old size too small": (log.body(9, 15), 409, 10),
        "old size too large": (log.body(11, 15), 409, 10),
        "from nothing": (log.body(0, 15), 409, 10),
        "the same size, another root": (other.body(10, 10), 409, 10),
        "another log": (other.body(10, 15), 422, None),
        "a proof turned round": (spoiled.text().encode(), 422, None),
        "no proof": (replace(spoiled, path=()).text().encode(), 422, None),
        "a proof where none is due": (
            replace(log.request(10, 10), path=(b"1" * 32,)).text().encode(), 422, None
        ),
        "a smaller log": (b"old 10\n\n" + log.note(9).encode(), 400, None),
        "no request": (b"no request", 400, None),
    }  # fmt: skip
    for name, (body, status, size) in cases.items():
        answer = firm.answer(body)
        assert answer.status == status, name
        assert parse_size(answer.body) == size, name
        assert answer.kind == ("text/x.tlog.size" if size else "text/plain; charset=utf-8"), name
        assert present(store.last(ORIGIN)).head == log.head(10), name
    assert firm.answer(log.body(10, 15)).status == 200
    assert [fork.note for fork in store.forks()] == [other.note(10)], "signed twice: a proof"


def test_a_first_head_needs_no_proof_and_an_empty_log_has_one_root(store):
    firm = witness(store)
    strange = sign_checkpoint(KEYS.witness, Checkpoint(ORIGIN, 0, b"1" * 32))
    assert firm.answer(b"old 0\n\n" + strange.encode()).status == 409
    empty = sign_checkpoint(KEYS.witness, Checkpoint(ORIGIN, 0, EMPTY_ROOT))
    assert firm.answer(b"old 0\n\n" + empty.encode()).status == 200
    with_proof = replace(log_of(3).request(0, 3), path=(b"1" * 32,))
    assert firm.answer(with_proof.text().encode()).status == 422
    assert firm.answer(log_of(3).body(0, 3)).status == 200


def test_signatures_of_others_are_passed_over(store):
    log = log_of(3)
    text, parted, lines = log.note(3).rpartition("\n\n")
    many = "".join(f"— other{i} {encode64(b'x' * 68)}\n" for i in range(15))
    answer = witness(store).answer(f"old 0\n\n{text}{parted}{many}{lines}".encode())
    assert answer.status == 200
    foreign = f"— {FIRM} {encode64(b'x' * 76)}\n— nobody AAAAAAAA\nrubbish\n"
    found = cosignature_of(log.note(3), foreign + answer.body, FIRM, [public_key(FIRM_KEY)])
    assert found == answer.body
    assert cosignature_of(log.note(3), foreign, FIRM, [public_key(FIRM_KEY)]) is None
    assert cosignature_of(log.note(2), answer.body, FIRM, [public_key(FIRM_KEY)]) is None


GOOD = log_of(5).body(2, 5)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff" + GOOD,
        GOOD[:-1],
        GOOD.replace(b"old 2", b"old 02"),
        GOOD.replace(b"old 2", b"old -2"),
        GOOD.replace(b"old 2", b"old 6"),
        GOOD.replace(b"old 2", b"size 2"),
        GOOD.replace(b"old 2", "old ２".encode()),  # noqa: RUF001
        GOOD.replace(b"\n\n", b"\n", 1),
        GOOD.replace(b"\n", b"\r\n"),
        GOOD.replace(b"\n\n", b"\nAAAA\n\n", 1),
        GOOD.replace(b"\n\n", b"\n" + b"A" * 43 + b"=\n" * 64 + b"\n", 1),
        GOOD.replace(b"\n\n", b"\n" + b"\n".join([b"A" * 43 + b"="] * 64) + b"\n\n", 1),
        b"old 0\n\n" + b"x" * MOST_BYTES,
    ],
)
def test_a_request_in_another_form_is_refused(store, body):
    with pytest.raises(EvidenceError):
        parse_request(body)
    answer = witness(store).answer(body)
    assert answer.status == 400
    assert store.all() == []


def test_a_request_is_read_as_it_was_written():
    request = log_of(300).request(7, 300)
    assert parse_request(request.text().encode()) == request
    assert request.text().splitlines()[0] == "old 7"


# --- what it must never do ----------------------------------------------------------------------


class Forgetful(WitnessStore):
    """The mutant of the specification: it compares, and writes afterwards, each by itself."""

    def advance(self, origin, decide):
        last = self.last(origin)
        found = decide(last.head if last else None)
        if found is not None:
            with self._transaction() as db:
                row = (origin, found.head.size, found.head.root, found.note, found.time_s)
                db.execute("INSERT OR REPLACE INTO cosigned VALUES (?, ?, ?, ?, ?)", row)


@pytest.mark.parametrize(("kind", "is_sound"), [(WitnessStore, True), (Forgetful, False)])
def test_two_requests_at_once_cannot_make_it_go_back(tmp_path, kind, is_sound):
    """Request A is checked, request B goes past it, then A is written."""
    log, path = log_of(20), tmp_path / FILE
    with kind(path) as first, kind(path) as second:
        second._rows("PRAGMA busy_timeout = 0")
        witness(first).answer(log.body(0, 5))
        went_past: list[int | str] = []

        def decide(held):
            if held is not None and not went_past:
                try:
                    went_past.append(witness(second).answer(log.body(5, 20)).status)
                except StoreError as error:
                    went_past.append(error.code)
            return Cosigned(log.head(10), log.note(10), NOW_S)

        first.advance(ORIGIN, decide)
        assert went_past == (["store_busy"] if is_sound else [200])
        went_back = went_past == [200] and present(first.last(ORIGIN)).head.size == 10
        assert went_back != is_sound


@pytest.mark.parametrize("after", [False, True])
def test_what_it_answered_it_remembers_wherever_it_breaks(tmp_path, after):
    log, answered = log_of(20), 0
    for at in range(20):
        path = tmp_path / f"{at}.sqlite"
        with WitnessStore(path) as store:
            witness(store).answer(log.body(0, 5))
        store = WitnessStore(path)
        true = store._db
        store._db = Breaking(true, at, after=after)  # type: ignore[assignment] # as far as it goes
        try:
            status = witness(store).answer(log.body(5, 10)).status
        except Broken:
            status = 0
        true.close()
        with WitnessStore(path) as again:
            size = present(again.last(ORIGIN)).head.size
            assert size in ({10} if status else {5, 10})
        answered += status == 200
    assert 0 < answered < 20


def test_over_a_thousand_requests_it_never_cosigns_two_histories(store):
    """Honest and forked heads at random; whatever is cosigned is one history. A witness that looks
    at the signature alone, the control, cosigns several."""
    draw, firm = random.Random(11), witness(store)
    logs = [log_of(60)]
    logs += [log_of(60, f"fork {i}", logs[0].leaves[: draw.randrange(60)]) for i in range(5)]
    cosigned: set[Checkpoint] = set()
    naive: set[Checkpoint] = set()
    for _ in range(1000):
        log = draw.choice(logs)
        held = store.last(ORIGIN)
        old = held.head.size if held and draw.random() < 0.7 else draw.randrange(60)
        size = draw.randrange(old, 61)
        if firm.answer(log.body(old, size)).status == 200:
            cosigned.add(log.head(size))
        naive.add(log.head(size))
    sys.stdout.write(f"\n1000 requests, {len(cosigned)} heads cosigned\n")

    def histories(heads):
        return [log for log in logs if all(log.head(head.size) == head for head in heads)]

    assert len(cosigned) > 5
    assert histories(cosigned)
    assert not histories(naive)


def test_a_file_of_another_program_is_not_its_memory(tmp_path):
    path = tmp_path / FILE
    with WitnessStore(path) as store:
        store._rows("PRAGMA user_version = 9")
    with pytest.raises(StoreError) as caught:
        WitnessStore(path)
    assert caught.value.code == "store_foreign"


def test_proofs_of_a_fork_are_kept_up_to_a_number(store):
    log, firm = log_of(3), witness(store)
    firm.answer(log.body(0, 3))
    for i in range(110):
        forked = log_of(3, f"fork {i}")
        assert firm.answer(Request(3, (), forked.note(3)).text().encode()).status == 409
    assert len(store.forks()) == 100
