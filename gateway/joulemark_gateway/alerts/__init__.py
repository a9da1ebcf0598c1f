"""What has to be told: rules as data, a durable state for each alert, delivery, acknowledgement.

| question | file |
|---|---|
| what the collector's file says | `settings.py` |
| which conditions hold now | `rules.py` (pure) |
| what is raised, resolved, escalated | `engine.py`, `store.py` |
| the words, Korean and English | `texts.py` (pure) |
| how it reaches somebody | `webhook.py`, `mail.py`, `deliver.py` |
"""
