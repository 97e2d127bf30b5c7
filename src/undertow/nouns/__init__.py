"""What everything is about: errors, metrics, the data of an audit, its result, and the seams between rooms."""
