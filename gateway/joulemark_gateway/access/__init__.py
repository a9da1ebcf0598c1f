"""Who may ask the collector for what: roles, users, sessions, tokens, and the log of it all."""
