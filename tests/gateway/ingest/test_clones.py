from nightly import clones


def test_two_running_copies_of_a_gateway_are_a_fork_within_two_batches(caplog):
    figures = clones.run(1, full=False)
    assert figures["batches of the second copy until the alarm"] == "1 to 1"
    alarms = [r for r in caplog.records if r.getMessage() == "security_alarm"]
    assert len(alarms) == clones.FEW
