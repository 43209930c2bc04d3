"""Cryptography behind the ports of the domain: nothing here decides who may do what."""
