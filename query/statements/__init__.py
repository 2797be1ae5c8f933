"""Questions as SQL: one module for each kind of answer, its rows beside its statements."""
