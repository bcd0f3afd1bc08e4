"""Results of a sweep: collected, summarized, and written as tables and a page."""
