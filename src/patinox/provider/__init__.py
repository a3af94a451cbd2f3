"""What every provider of language models shares; `patinox` itself exports the public names."""
