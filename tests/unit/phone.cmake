unit_test(phone_lk LABEL phone DEPS tests/phone)
unit_test(phone_identity LABEL phone DEPS tests/phone usb/format)
