# The command line's client against the real station and an emulated phone.
phone_cases(client_test.py 0 AS client)
