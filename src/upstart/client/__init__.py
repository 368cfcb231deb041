"""The client library of Upstart's D-Bus interface, and initctl."""
