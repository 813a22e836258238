"""What travels: the message event, the provider formats it is read from, and its contracts. Pure."""
