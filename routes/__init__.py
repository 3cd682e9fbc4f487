"""One module per OpenAI REST resource, and what guards them."""
