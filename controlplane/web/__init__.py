"""The console: pages over the API's functions, for people with a browser. Decides nothing and writes nothing but sign-ins."""
