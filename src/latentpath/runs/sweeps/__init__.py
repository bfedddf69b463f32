"""The jobs of a sweep (-m): early checks, a record of each job, one table and one chart at the end."""
