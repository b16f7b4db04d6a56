"""The JSON API: its schemas, its routes, its listener and its client. Thin over workflow and store; decides nothing itself."""
