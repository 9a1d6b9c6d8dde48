unit_test(admit DEPS server/station)
