"""A second voice for plants with a Sparkplug B host: what is read, as births, data and deaths.

It is a copy for those who watch, never evidence: Sparkplug's sequence number has 8 bits, nothing is
signed, and no application acknowledges. Evidence goes its own way whether a host is there or not.
Source: Eclipse Sparkplug specification 3.0.0, chapters 4 to 6 (eclipse-sparkplug/sparkplug e45b610,
2024-02-12); field numbers from its sparkplug_b.proto.
"""
