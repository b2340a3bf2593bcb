"""The inventory of numbers: who may call as which, kept in a database, changed as a whole, compiled for the workers."""
