"""What `hereabouts replay --report` writes: a page that shows what became of a trace."""
