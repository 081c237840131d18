"""From a paper to rows: trials, their fingerprints, processes and results."""
