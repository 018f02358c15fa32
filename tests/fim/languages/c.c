#ifndef STOCK_H
#define STOCK_H

#include <stdio.h>
#include "stock.h"

#define LIMIT 3

struct article {
    const char *name;
    int left;
};

typedef struct {
    int count;
} stock_t;

static int is_scarce(const struct article *a);

char *show(struct article *a)
{
    /* Nothing is printed for what there is enough of. */
    if (a->left < LIMIT) {
        ║printf("scarce: %s\n", a->name);
    }
    return 0;
}

#endif
