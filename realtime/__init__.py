"""The server: Realtime sessions, configuration and the `antiphon` command."""
