"""The fault suite: things are killed, cut off and paused under load; every number is checked."""
