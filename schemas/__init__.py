"""The message event, the formats it is read from, and the published contracts. Pure."""
