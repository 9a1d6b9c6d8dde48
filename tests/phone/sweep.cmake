# A sample of the fault sweep (./run soak --sweep is all of it): cases in an order that the seed decides.
add_test(NAME phone/fault_sweep_sample
    COMMAND /usr/bin/python3 ${CMAKE_SOURCE_DIR}/tests/soak/sweep.py --seconds 60 --phones 16 --seed 20261122)
set_tests_properties(phone/fault_sweep_sample PROPERTIES LABELS phone TIMEOUT 600 RUN_SERIAL TRUE
    ENVIRONMENT "FLASHRACK_BUILD=${CMAKE_BINARY_DIR};FLASHRACK_SWEEP_SCALE=0.6;FLASHRACK_SWEEP_MEMORY=$<NOT:$<BOOL:${FLASHRACK_SANITIZE}>>")
