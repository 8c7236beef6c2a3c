"""HTTP: routes, keys, bodies and errors. The pipeline that they call is `scoring`."""
