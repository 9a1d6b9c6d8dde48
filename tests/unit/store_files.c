#include "tests/unit/rows.h"
int main(void)
{
    return 0;
}
