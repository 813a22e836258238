"""What travels: the message event, the formats it is read from, and its contracts. Pure."""
