"""QoS 1 of the brokers that are supported: mosquitto as in deploy/ keeps it, the embedded does not.

`python -m tests.nightly brokers` asks one more and runs the chain on each.
"""

import pytest

from nightly.brokers import DEPLOYED, EMBEDDED, WANTED, asked

pytestmark = [pytest.mark.endurance, pytest.mark.service, pytest.mark.usefixtures("mosquitto")]
FORGETFUL = {  # what docs/brokers.md says of the embedded broker
    "offline session": "0/200; PUBACK: no matching subscribers",
    "un-acknowledged, after a broken connection": "0/100, DUP on 0",
    "offline session over an orderly restart": "0/200; PUBACK: no matching subscribers",
    "shared subscription": "0 + 0 of 100; 0 twice, 100 lost",
}


def test_each_broker_keeps_what_its_page_says_and_no_more():
    answers = asked(full=False)
    assert {name: answers[DEPLOYED][name] for name in WANTED} == WANTED
    assert answers[DEPLOYED]["offline session over kill -9"].startswith("0/200")
    assert {name: answers[EMBEDDED][name] for name in FORGETFUL} == FORGETFUL
