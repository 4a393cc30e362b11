"""How the built-in models are made: data, text table, autoencoder, flow network, export. Anyone can repeat it."""
