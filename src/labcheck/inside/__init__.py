"""The half of labcheck that runs beside student code, and therefore holds no test and no answer."""
