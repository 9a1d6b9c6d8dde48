# What emulated-x5 takes on its command line.
phone_cases(options_test.py 0 AS options)
