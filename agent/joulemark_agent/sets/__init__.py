"""Factor and profile sets from somebody else: fetched under TUF, or published so that others can.

What is fetched is a file like any other: a site file names its path, and the operator approves its
digest with the grant of the next epoch. TUF answers what a signature alone does not: whether this
is the newest set (no roll-back), whether the source still speaks (no freeze), and who may.
Source: The Update Framework specification 1.0 (theupdateframework/specification), through
python-tuf, which stays behind `fetch.py` and `publish.py`.
"""
