# Jobs against the real station, with phones on USB/IP.
phone_cases(restore_test.py 1)
phone_cases(resume_test.py 0)
phone_cases(identity_test.py 0)
phone_cases(recipes_test.py 0)
phone_cases(station_test.py 0)
phone_cases(schedule_test.py 0)
