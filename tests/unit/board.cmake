unit_test(phone_parts DEPS tests/phone)
