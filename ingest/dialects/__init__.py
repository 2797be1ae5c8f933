"""How clients say what happened: each module translates one way of saying it into records.

A record is what a producer of its own would write to `track.events`, so the one admission of all
events judges it. A translation is pure: no clock, no IO, no judgement.
"""
