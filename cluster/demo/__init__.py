"""What `hereabouts replay` is made of: walks from recorded traces, people of the public ports, the story."""
