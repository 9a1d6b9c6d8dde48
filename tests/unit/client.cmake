unit_test(client_sse DEPS server/cli)
unit_test(client_host DEPS server/cli)
