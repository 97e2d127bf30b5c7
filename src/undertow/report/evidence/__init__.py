"""The evidence pack: what was tested, how, what came of it and what was not run, for people who file it."""
