unit_test(proof DEPS server/store server/cli)
