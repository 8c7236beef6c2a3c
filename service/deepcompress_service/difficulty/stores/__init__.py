"""The stores of difficulty state: SQLite and memory over `local`, Redis over Lua scripts."""
