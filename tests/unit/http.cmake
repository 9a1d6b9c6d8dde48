unit_test(http DEPS server/http)
target_compile_definitions(test_http PRIVATE PROBLEMS_HTML="${CMAKE_SOURCE_DIR}/web/problems.html")
