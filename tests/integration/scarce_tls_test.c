#include <weft.h>
