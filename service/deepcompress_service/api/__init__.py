"""HTTP: routes, keys, admission, bodies and errors. The pipeline that they call is `scoring`."""
