"""The site's own certificate authority: who is who between agents, broker and collector."""
