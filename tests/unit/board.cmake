unit_test(phone_parts DEPS tests/phone)
target_compile_definitions(test_phone_parts PRIVATE SOURCE_DIR="${CMAKE_SOURCE_DIR}")
