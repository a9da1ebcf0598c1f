"""The beginning of a site file, for `str.format`: what follows are its devices."""

HEAD = """site: hall
agent: edge-1
time_zone: UTC
factors: {{set: korea, rule_set: ESG, jurisdiction: KR}}
uplink:
  url: "mqtt://127.0.0.1:1883"
  collector_key: "WxhFr3X+pUJSoC1zlt0/Ywi8pq84zt0LXz0B8tO4xkk="
  collector_name: joulemark/collector
devices:
"""
