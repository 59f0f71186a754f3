"""Steps that are recorded once and replayed: the rows of a record, the arrays that record, the state they work on."""
