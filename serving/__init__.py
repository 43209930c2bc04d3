"""How predictions are computed: formats, replica processes, the batcher inside them."""
