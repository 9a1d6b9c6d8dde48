# kill -9 of each kind of process at a step that the seed decides (./run soak tries all steps).
add_test(NAME phone/kill_sweep_sample
    COMMAND /usr/bin/python3 ${CMAKE_SOURCE_DIR}/tests/soak/kill_sweep.py --cases 3 --seed 20261126)
set_tests_properties(phone/kill_sweep_sample PROPERTIES LABELS phone COST 60 TIMEOUT 600
    ENVIRONMENT "FLASHRACK_BUILD=${CMAKE_BINARY_DIR};FLASHRACK_SWEEP_SCALE=0.6")
