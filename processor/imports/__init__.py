"""History that providers and mail servers have, as what their webhooks would have brought."""
