"""Jobs trained, stored and resumed, in this process or by workers."""
