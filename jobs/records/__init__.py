"""The record job: a day's files of one feed, judged record by record, versioned by key, and published as a whole or not at all."""
