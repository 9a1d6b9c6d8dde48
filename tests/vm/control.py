"""Hands to the rack: passes lines from standard input to a rack's control socket and its answers back. One process for a
whole script: starting Python for each order takes a second in the guest."""
import socket
import sys

link = socket.socket(socket.AF_UNIX)
link.connect(sys.argv[1])
answers = link.makefile()
for order in sys.stdin:
    link.sendall(order.encode())
    print(answers.readline().strip(), flush=True)
